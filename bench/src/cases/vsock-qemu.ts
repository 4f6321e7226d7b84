import { join } from 'node:path';
import { startIperfServer, type Throughput } from '@rxvhost/test/support/iperf.js';
import { NetworkNamespace } from '@rxvhost/test/support/network-namespace.js';
import { Guest } from '@rxvhost/test/support/qemu.js';
import { VsockServer } from '@rxvhost/test/support/vsock-server.js';
import { HOST_CID } from '@rxvhost/vsock';
import { measureQemuTap } from '../peers/qemu-tap.js';
import type { Result } from '../result.js';
import type { Settings } from '../settings.js';
import { GUEST_CID } from '../vsock/guests.js';
import { startSocat } from '../vsock/socat.js';

const NAMESPACE = 'rxvhost-bench-vsock';
const GIGABIT = 1e9;

/** One stream between a guest of QEMU and a program in C on the host: our vsock, and TCP over QEMU's own tap. */
export async function vsockOfQemu(settings: Settings): Promise<Result[]> {
  const own: Throughput[] = [];
  const peer: Throughput[] = [];
  const namespace = new NetworkNamespace(NAMESPACE);
  const network = { namespace, tap: 'benchvsock0', host: '10.9.6.1', guest: '10.9.6.2' };
  const iperf = await startIperfServer(namespace);
  try {
    for (let round = 0; round < settings.rounds; round += 1) {
      own.push(await throughVsock(settings, round));
      peer.push(await measureQemuTap(network, { ...settings, packed: false }));
    }
  } finally {
    await iperf.stop('SIGKILL');
    namespace.delete();
  }
  const result = (name: string, of: (rates: Throughput) => number): Result => ({
    name: `vsock stream, QEMU ${name}`,
    unit: 'Gbit/s',
    better: 'more',
    own: own.map((rates) => of(rates) / GIGABIT),
    peers: [{ name: 'TCP over QEMU’s own tap', figures: peer.map((r) => of(r) / GIGABIT) }],
  });
  return [
    result('guest to host', ({ guestToHost }) => guestToHost),
    result('host to guest', ({ hostToGuest }) => hostToGuest),
  ];
}

async function throughVsock({ folder, seconds }: Settings, round: number): Promise<Throughput> {
  const socketPath = join(folder, `vsock-qemu${round}.sock`);
  const udsPath = join(folder, `vsock-qemu${round}.vsock`);
  const server = await VsockServer.start({ socketPath, udsPath, guestCid: GUEST_CID });
  const [sink, source] = [`${udsPath}_1`, `${udsPath}_2`];
  const programs = [
    await startSocat(['-u', `UNIX-LISTEN:${sink}`, 'OPEN:/dev/null'], sink),
    await startSocat(['-u', 'OPEN:/dev/zero', `UNIX-LISTEN:${source}`], source),
  ];
  const guest = await Guest.start({ vsockPath: socketPath });
  try {
    return {
      guestToHost: await run(guest, `flood ${HOST_CID} 1 ${seconds}`),
      hostToGuest: await run(guest, `drain ${HOST_CID} 2 ${seconds}`),
    };
  } finally {
    await guest.kill();
    for (const program of programs) await program.stop('SIGKILL');
    await server.stop();
  }
}

/** Bits a second. */
async function run(guest: Guest, command: string): Promise<number> {
  const output = await guest.check(`vsock-tool ${command}`, 120_000);
  const [, bytes, seconds] = /^(\d+) bytes in ([\d.]+) s/.exec(output) ?? [];
  return (8 * Number(bytes)) / Number(seconds);
}
