import { join } from 'node:path';
import { measureTcp, startIperfServer, type Throughput } from '@rxvhost/test/support/iperf.js';
import { NetworkNamespace } from '@rxvhost/test/support/network-namespace.js';
import { Guest, type GuestOptions } from '@rxvhost/test/support/qemu.js';
import { OwnServer } from '../peers/own-server.js';
import type { Result } from '../result.js';
import { ON_SPLIT_RINGS, type Settings } from '../settings.js';

const NAMESPACE = 'rxvhost-bench-gso';
const HOST = '10.9.5.1';
const GUEST = '10.9.5.2';
const TAP = 'bench0';
const GIGABIT = 1e9;

/** TCP with every offload between a guest of QEMU and the host: our tap, and QEMU's own. */
export async function gsoTransfer(settings: Settings): Promise<Result[]> {
  const own: Throughput[] = [];
  const peer: Throughput[] = [];
  const split: Throughput[] = [];
  const namespace = new NetworkNamespace(NAMESPACE);
  const iperf = await startIperfServer(namespace);
  try {
    for (let round = 0; round < settings.rounds; round += 1) {
      own.push(await throughRxvhost(settings, namespace, round));
      peer.push(await throughQemu(settings, namespace));
      if (!settings.packed) continue;
      split.push(await throughRxvhost({ ...settings, packed: false }, namespace, round));
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
  namespace: NetworkNamespace,
  round: number,
): Promise<Throughput> {
  const socketPath = join(settings.folder, `gso${round}.sock`);
  // On no processor of its own: QEMU's threads, our peer's among them, run where the kernel likes.
  const server = await OwnServer.start({
    socketPath,
    backend: `tap:${TAP}`,
    busyPoll: 0,
    namespace,
    profile: settings.profile,
  });
  try {
    return await measure(settings, namespace, { socketPath });
  } finally {
    await server.stop();
  }
}

async function throughQemu(settings: Settings, namespace: NetworkNamespace): Promise<Throughput> {
  namespace.ip('tuntap', 'add', 'dev', TAP, 'mode', 'tap');
  try {
    const inside = (command: readonly string[]) => namespace.inside(command);
    return await measure(settings, namespace, { tap: { ifname: TAP, inside } });
  } finally {
    namespace.ip('link', 'delete', TAP);
  }
}

async function measure(
  { seconds, packed }: Settings,
  namespace: NetworkNamespace,
  options: GuestOptions,
): Promise<Throughput> {
  namespace.ip('address', 'add', `${HOST}/24`, 'dev', TAP);
  namespace.ip('link', 'set', TAP, 'up');
  const guest = await Guest.start({ ...options, device: packed ? ['packed=on'] : [] });
  try {
    await guest.check(`ip addr add ${GUEST}/24 dev eth0 && ip link set eth0 up`);
    await guest.check(`ping -c 1 -W 5 ${HOST} || ping -c 1 -W 5 ${HOST}`);
    return await measureTcp(guest, HOST, seconds);
  } finally {
    await guest.kill();
  }
}
