import {
  type DpdkServer,
  startDpdkLoop,
  startDpdkSink,
  startDpdkSource,
} from '../peers/dpdk-server.js';
import { OwnServer } from '../peers/own-server.js';
import { loopRate, type Measurement, receiveRate, transmitRate } from '../peers/vhost-client.js';
import type { Result } from '../result.js';
import {
  BUSY_POLL,
  measurementOf,
  ON_SPLIT_RINGS,
  SERVER_CORE,
  type Settings,
} from '../settings.js';

const MILLION = 1e6;

/** One way of moving 64-byte frames between guest memory and a server's own, and DPDK's way. */
interface MemoryCase {
  readonly name: string;
  /** Our server's backend. */
  readonly backend: string;
  readonly peerName: string;
  startPeer(socketPath: string, core: number): Promise<DpdkServer>;
  rate(measurement: Measurement): Promise<number>;
}

/** Frames that a server takes out of the guest's memory and drops, beside DPDK's vhost port. */
export const transmitDrain = (settings: Settings): Promise<Result[]> =>
  compare(settings, {
    name: 'transmit drain, 64-byte frames',
    backend: 'copy',
    peerName: 'DPDK net_vhost rxonly',
    startPeer: startDpdkSink,
    rate: transmitRate,
  });

/** Frames that a server puts into the guest's buffers as fast as it can. */
export const receiveFill = (settings: Settings): Promise<Result[]> =>
  compare(settings, {
    name: 'receive, 64-byte frames',
    backend: 'source',
    peerName: 'DPDK net_vhost txonly',
    startPeer: startDpdkSource,
    rate: receiveRate,
  });

/** Frames that go round: out of the guest's memory and back into it. */
export const loopBack = (settings: Settings): Promise<Result[]> =>
  compare(settings, {
    name: 'loopback, 64-byte frames',
    backend: 'loopback',
    peerName: 'DPDK net_vhost, looped port',
    startPeer: startDpdkLoop,
    rate: loopRate,
  });

async function compare(settings: Settings, memoryCase: MemoryCase): Promise<Result[]> {
  const { name, backend, peerName, startPeer, rate } = memoryCase;
  const own: number[] = [];
  const figures: number[] = [];
  const split: number[] = [];
  for (let round = 0; round < settings.rounds; round += 1) {
    const measurement = measurementOf(settings, `${backend}${round}`);
    const { socketPath } = measurement;
    const peer = await startPeer(socketPath, SERVER_CORE);
    figures.push((await rate(measurement)) / MILLION);
    await peer.stop();
    own.push(await ownRate(settings, memoryCase, measurement));
    if (!settings.packed) continue;
    split.push(await ownRate(settings, memoryCase, { ...measurement, packed: false }));
  }
  const peers = [{ name: peerName, figures }];
  if (settings.packed) peers.push({ name: ON_SPLIT_RINGS, figures: split });
  return [{ name, unit: 'Mframes/s', better: 'more', own, peers }];
}

async function ownRate(
  { profile }: Settings,
  { backend, rate }: MemoryCase,
  measurement: Measurement,
): Promise<number> {
  const { socketPath } = measurement;
  const server = await OwnServer.start({
    socketPath,
    backend,
    core: SERVER_CORE,
    busyPoll: BUSY_POLL,
    profile,
  });
  const frames = await rate(measurement);
  await server.stop();
  return frames / MILLION;
}
