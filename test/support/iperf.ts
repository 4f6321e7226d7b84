import type { NetworkNamespace } from './network-namespace.js';
import type { PeerProcess } from './peer-process.js';
import type { Guest } from './qemu.js';

/** TCP throughput as the receiver saw it, in bits a second. */
export interface Throughput {
  readonly guestToHost: number;
  readonly hostToGuest: number;
}

/** Starts an iperf3 server in a network namespace; it serves one client after the other. */
export async function startIperfServer(namespace: NetworkNamespace): Promise<PeerProcess> {
  const server = namespace.start('iperf3', ['iperf3', '-s', '--forceflush']);
  await server.waitFor(/listening/i);
  return server;
}

/** TCP from a guest to the server at `address`, then the other way, `seconds` each. */
export async function measureTcp(
  guest: Guest,
  address: string,
  seconds: number,
): Promise<Throughput> {
  return {
    guestToHost: await run(guest, `-c ${address} -t ${seconds}`, seconds),
    hostToGuest: await run(guest, `-c ${address} -t ${seconds} -R`, seconds),
  };
}

async function run(guest: Guest, options: string, seconds: number): Promise<number> {
  const output = await guest.check(`iperf3 -J ${options}`, (seconds + 30) * 1000);
  const report = JSON.parse(output) as { end: { sum_received: { bits_per_second: number } } };
  return report.end.sum_received.bits_per_second;
}
