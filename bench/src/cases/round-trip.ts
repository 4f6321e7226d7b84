import { join } from 'node:path';
import { FEATURE } from '@rxvhost/core';
import { closeFd, createMemfd, EventFd, mapShared } from '@rxvhost/sys';
import { VhostUserFrontend } from '@rxvhost/vhost-user';
import { eventfdRoundTrips, guestRoundTrips, type RoundTrips } from '../peers/native-program.js';
import { OwnServer } from '../peers/own-server.js';
import type { Result } from '../result.js';
import { CLIENT_CORE, SERVER_CORE, type Settings } from '../settings.js';

const MEMORY = 4 * 1024 * 1024;
const USER_ADDRESS = 0x7f00_0000_0000;
const SIZE = 256;
const QUEUE_STRIDE = 0x1_0000;
const AVAILABLE = 0x4000;
const USED = 0x8000;
const BUFFERS = 0x10_0000;
const BUFFER = 2048;
const FRAME = 12 + 64;
const WRITE = 2;
const NO_INTERRUPT = 1;
const FIGURES = ['p50', 'p99', 'p999'] as const;

/** Kick to call through a NIC that loops frames back, beside two threads in C that wake each other. */
export async function kickToCall(settings: Settings): Promise<Result[]> {
  const own: RoundTrips[] = [];
  const peer: RoundTrips[] = [];
  for (let round = 0; round < settings.rounds; round += 1) {
    peer.push(
      eventfdRoundTrips({
        seconds: settings.seconds,
        serverCore: SERVER_CORE,
        clientCore: CLIENT_CORE,
      }),
    );
    const socketPath = join(settings.folder, `round-trip${round}.sock`);
    const server = await OwnServer.start({
      socketPath,
      backend: 'loopback',
      core: SERVER_CORE,
      busyPoll: 0,
      profile: settings.profile,
    });
    own.push(await measure(socketPath, settings.seconds));
    await server.stop();
  }
  return FIGURES.map((name) => ({
    name: `kick to call, ${name === 'p999' ? 'p99.9' : name}`,
    unit: 'µs',
    better: 'less',
    own: own.map((trips) => trips[name] / 1000),
    peers: [
      { name: 'C, two eventfds and epoll', figures: peer.map((trips) => trips[name] / 1000) },
    ],
  }));
}

async function measure(socketPath: string, seconds: number): Promise<RoundTrips> {
  const fd = createMemfd('bench-guest', MEMORY);
  const mapping = mapShared(fd, 0, MEMORY);
  const events = [0, 1].map(() => ({ kick: new EventFd(), call: new EventFd() }));
  const frontend = VhostUserFrontend.connect(socketPath);
  try {
    await frontend.handshake({ features: FEATURE.VERSION_1 });
    await frontend.shareMemory([{ guestAddress: 0, userAddress: USER_ADDRESS, size: MEMORY, fd }]);
    prepareRings(new DataView(mapping.windows[0] as ArrayBuffer));
    for (const [index, { kick, call }] of events.entries()) {
      const base = USER_ADDRESS + index * QUEUE_STRIDE;
      const addresses = {
        descriptorTable: base,
        availableRing: base + AVAILABLE,
        usedRing: base + USED,
        logAddress: 0,
        flags: 0,
      };
      await frontend.startQueue(index, { size: SIZE, addresses, kick, call });
    }
    const [receive, transmit] = events;
    if (receive === undefined || transmit === undefined) throw new Error('two queues');
    return await guestRoundTrips({
      seconds,
      clientCore: CLIENT_CORE,
      fds: [fd, transmit.kick.fd, receive.call.fd],
      memorySize: MEMORY,
      transmitIndex: QUEUE_STRIDE + AVAILABLE + 2,
      receiveIndex: AVAILABLE + 2,
    });
  } finally {
    frontend.close();
    for (const { kick, call } of events) {
      kick.close();
      call.close();
    }
    mapping.release();
    closeFd(fd);
  }
}

/** Every entry of both rings, for good; half of the receive buffers are available from the start. */
function prepareRings(view: DataView): void {
  for (const queue of [0, 1]) {
    const base = queue * QUEUE_STRIDE;
    for (let index = 0; index < SIZE; index += 1) {
      const buffer = BUFFERS + (queue * SIZE + index) * BUFFER;
      view.setUint32(base + 16 * index, buffer, true);
      view.setUint32(base + 16 * index + 8, queue === 0 ? BUFFER : FRAME, true);
      view.setUint16(base + 16 * index + 12, queue === 0 ? WRITE : 0, true);
      view.setUint16(base + AVAILABLE + 4 + 2 * index, index, true);
    }
  }
  view.setUint16(AVAILABLE + 2, SIZE / 2, true);
  view.setUint16(QUEUE_STRIDE + AVAILABLE, NO_INTERRUPT, true);
}
