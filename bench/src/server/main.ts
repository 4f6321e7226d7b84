/**
 * The benchmarks' server process: one NIC on a vhost-user socket, busy polling as its peers do.
 * Ends on SIGTERM, so that `--cpu-prof` writes its profile.
 */
import { parseArgs } from 'node:util';
import { openRaw } from '@rxvhost/backend-raw';
import { openTap } from '@rxvhost/backend-tap';
import { loopback, NullSocket, type PacketSocket, VhostNet } from '@rxvhost/core';
import { NativeCopier } from '@rxvhost/sys';
import { VhostUserServer } from '@rxvhost/vhost-user';
import { CopyingSink } from './copying-sink.js';
import { FrameSource } from './frame-source.js';

const { values } = parseArgs({
  options: {
    'socket-path': { type: 'string', default: '' },
    backend: { type: 'string', default: 'copy' },
    'busy-poll': { type: 'string', default: '0' },
  },
});

function backend(name: string, argument: string): PacketSocket {
  switch (name) {
    case 'copy':
      return new CopyingSink(new NativeCopier());
    case 'source':
      return new FrameSource(new NativeCopier());
    case 'null':
      return new NullSocket();
    case 'loopback':
      return loopback({ copier: new NativeCopier() });
    case 'tap':
      return openTap({ ifname: argument });
    case 'raw':
      return openRaw({ ifname: argument });
    default:
      throw new RangeError(`no such benchmark backend: ${name}`);
  }
}

const [name = '', argument = ''] = values.backend.split(':');
const nic = new VhostNet({
  backends: backend(name, argument),
  busyPoll: Number(values['busy-poll']),
});
nic.errors$.subscribe(({ queue, error }) => console.error(`queue ${queue}: ${error.message}`));
const server = new VhostUserServer(nic, { socketPath: values['socket-path'] });
console.error('listening');
process.on('SIGTERM', async () => {
  await server.close();
  await nic.close();
  process.exit(0);
});
