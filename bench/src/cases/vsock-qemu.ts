import { join } from 'node:path';
import { measureTcp, startIperfServer, type Throughput } from '@rxvhost/test/support/iperf.js';
import { NetworkNamespace } from '@rxvhost/test/support/network-namespace.js';
import { Guest } from '@rxvhost/test/support/qemu.js';
import { VsockServer } from '@rxvhost/test/support/vsock-server.js';
import { HOST_CID } from '@rxvhost/vsock';
import type { Result } from '../result.js';
import type { Settings } from '../settings.js';
import { GUEST_CID } from '../vsock/guests.js';
import { startSocat } from '../vsock/socat.js';

const NAMESPACE = 'rxvhost-bench-vsock';
const HOST = '10.9.6.1';
const GUEST = '10.9.6.2';
const TAP = 'benchvsock0';
const GIGABIT = 1e9;

/** One stream between a guest of QEMU and a program in C on the host: our vsock, and TCP over QEMU's own tap. */
export async function vsockOfQemu(settings: Settings): Promise<Result[]> {
  const own: Throughput[] = [];
  const peer: Throughput[] = [];
  const namespace = new NetworkNamespace(NAMESPACE);
  const iperf = await startIperfServer(namespace);
  try {
    for (let round = 0; round < settings.rounds; round += 1) {
      own.push(await throughVsock(settings, round));
      peer.push(await throughTap(settings, namespace));
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

async function throughTap({ seconds }: Settings, namespace: NetworkNamespace): Promise<Throughput> {
  namespace.ip('tuntap', 'add', 'dev', TAP, 'mode', 'tap');
  try {
    namespace.ip('address', 'add', `${HOST}/24`, 'dev', TAP);
    namespace.ip('link', 'set', TAP, 'up');
    const inside = (command: readonly string[]) => namespace.inside(command);
    const guest = await Guest.start({ tap: { ifname: TAP, inside } });
    try {
      await guest.check(`ip addr add ${GUEST}/24 dev eth0 && ip link set eth0 up`);
      await guest.check(`ping -c 1 -W 5 ${HOST} || ping -c 1 -W 5 ${HOST}`);
      return await measureTcp(guest, HOST, seconds);
    } finally {
      await guest.kill();
    }
  } finally {
    namespace.ip('link', 'delete', TAP);
  }
}
