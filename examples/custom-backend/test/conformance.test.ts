import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { backendConformance } from '@rxvhost/core/testing';
import t from 'tap';
import { UdpTunnel } from '../src/udp-tunnel.js';

/** A UDP socket on a port of its own. */
async function boundSocket(): Promise<Socket> {
  const socket = createSocket({ type: 'udp4', recvBufferSize: 1024 * 1024 });
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  return socket;
}

/** A tunnel, and the socket at its other end. */
async function makeTunnel() {
  const [near, far] = [await boundSocket(), await boundSocket()];
  near.connect(far.address().port, '127.0.0.1');
  far.connect(near.address().port, '127.0.0.1');
  await Promise.all([once(near, 'connect'), once(far, 'connect')]);
  const received: Uint8Array[] = [];
  far.on('message', (frame) => received.push(frame));
  return {
    backend: new UdpTunnel(near),
    peer: {
      received: () => received.splice(0),
      inject: (frames: readonly Uint8Array[]) => {
        for (const frame of frames) far.send(frame);
      },
    },
    release: () => far.close(),
  };
}

t.test('the tunnel conforms to what a backend promises', (t) =>
  backendConformance(t, makeTunnel, { openFiles: () => readdirSync('/proc/self/fd').length }),
);
