import { join } from 'node:path';
import { startIperfServer, type Throughput } from '@rxvhost/test/support/iperf.js';
import { NetworkNamespace } from '@rxvhost/test/support/network-namespace.js';
import { OwnServer } from '../peers/own-server.js';
import { measureOverTap, measureQemuTap, type TapNetwork } from '../peers/qemu-tap.js';
import type { Result } from '../result.js';
import { ON_SPLIT_RINGS, type Settings } from '../settings.js';

const NAMESPACE = 'rxvhost-bench-gso';
const GIGABIT = 1e9;

/** TCP with every offload between a guest of QEMU and the host: our tap, and QEMU's own. */
export async function gsoTransfer(settings: Settings): Promise<Result[]> {
  const own: Throughput[] = [];
  const peer: Throughput[] = [];
  const split: Throughput[] = [];
  const namespace = new NetworkNamespace(NAMESPACE);
  const network = { namespace, tap: 'bench0', host: '10.9.5.1', guest: '10.9.5.2' };
  const iperf = await startIperfServer(namespace);
  try {
    for (let round = 0; round < settings.rounds; round += 1) {
      own.push(await throughRxvhost(settings, network, round));
      peer.push(await measureQemuTap(network, settings));
      if (!settings.packed) continue;
      split.push(await throughRxvhost({ ...settings, packed: false }, network, round));
    }
  } finally {
    await iperf.stop('SIGKILL');
    namespace.delete();
  }
  const result = (name: string, of: (rates: Throughput) => number): Result => {
    const gigabits = (all: readonly Throughput[]) => all.map((rates) => of(rates) / GIGABIT);
    const peers = [{ name: 'QEMU’s own tap', figures: gigabits(peer) }];
    if (settings.packed) peers.push({ name: ON_SPLIT_RINGS, figures: gigabits(split) });
    return {
      name: `TCP with offloads, ${name}`,
      unit: 'Gbit/s',
      better: 'more',
      own: gigabits(own),
      peers,
    };
  };
  return [
    result('guest to host', ({ guestToHost }) => guestToHost),
    result('host to guest', ({ hostToGuest }) => hostToGuest),
  ];
}

async function throughRxvhost(
  settings: Settings,
  network: TapNetwork,
  round: number,
): Promise<Throughput> {
  const socketPath = join(settings.folder, `gso${round}.sock`);
  // On no processor of its own: QEMU's threads, our peer's among them, run where the kernel likes.
  const server = await OwnServer.start({
    socketPath,
    backend: `tap:${network.tap}`,
    busyPoll: 0,
    namespace: network.namespace,
    profile: settings.profile,
  });
  try {
    return await measureOverTap(network, settings, { socketPath });
  } finally {
    await server.stop();
  }
}
