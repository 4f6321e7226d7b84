/**
 * The load for every vhost-user server under test, DPDK's or ours: the same testpmd client, whose
 * own counter says how many frames the server has taken out of its ring.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { NetworkNamespace } from '@rxvhost/test/support/network-namespace.js';
import { Testpmd } from '@rxvhost/test/support/testpmd.js';

export interface Measurement {
  readonly socketPath: string;
  /** Seconds of measurement, after `warmUp` seconds that do not count. */
  readonly seconds: number;
  readonly warmUp: number;
  /** Processor of the client. */
  readonly core: number;
  /** Whether the client's rings are packed. */
  readonly packed: boolean;
}

/** Frames a second that the server at a socket takes from a client which offers all it can. */
export async function transmitRate(measurement: Measurement): Promise<number> {
  return await withTransmittingClient(measurement, (client) =>
    rateOf(measurement, async () => (await client.portStatistics())[0]?.transmitted ?? 0),
  );
}

/** Frames a second that arrive at an interface behind the server; what is dropped does not count. */
export async function forwardRate(
  measurement: Measurement,
  namespace: NetworkNamespace,
  ifname: string,
): Promise<number> {
  return await withTransmittingClient(measurement, () =>
    rateOf(measurement, async () => namespace.receivedFrames(ifname)),
  );
}

/** Frames a second that the client receives from a server which gives all it can. */
export async function receiveRate(measurement: Measurement): Promise<number> {
  return await withClient(measurement, { mode: 'rxonly' }, (client) =>
    rateOf(measurement, async () => (await client.portStatistics())[0]?.received ?? 0),
  );
}

/** Frames a second that go round between a client and a server which both give every frame back. */
export async function loopRate(measurement: Measurement): Promise<number> {
  return await withClient(measurement, { mode: 'io', txFirst: 8 }, (client) =>
    rateOf(measurement, async () => (await client.portStatistics())[0]?.received ?? 0),
  );
}

async function withTransmittingClient(
  measurement: Measurement,
  measure: (client: Testpmd) => Promise<number>,
): Promise<number> {
  return await withClient(measurement, { mode: 'txonly' }, measure);
}

async function withClient(
  { socketPath, core, packed }: Measurement,
  { mode, txFirst = 0 }: { mode: 'txonly' | 'rxonly' | 'io'; txFirst?: number },
  measure: (client: Testpmd) => Promise<number>,
): Promise<number> {
  const client = await Testpmd.start({
    name: 'bench-client',
    mode,
    core,
    devices: [`net_virtio_user0,path=${socketPath},queue_size=256,packed_vq=${packed ? 1 : 0}`],
    arguments: mode === 'io' ? ['--port-topology=loop'] : [],
  });
  try {
    await client.forward({ txFirst });
    const rate = await measure(client);
    await client.stopForwarding();
    return rate;
  } finally {
    await client.quit();
  }
}

async function rateOf(
  { seconds, warmUp }: Measurement,
  frames: () => Promise<number>,
): Promise<number> {
  await delay(warmUp * 1000);
  const [firstFrames, firstTime] = [await frames(), performance.now()];
  await delay(seconds * 1000);
  const [lastFrames, lastTime] = [await frames(), performance.now()];
  return ((lastFrames - firstFrames) * 1000) / (lastTime - firstTime);
}
