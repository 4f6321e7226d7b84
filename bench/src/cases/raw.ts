import { setTimeout as delay } from 'node:timers/promises';
import { NetworkNamespace } from '@rxvhost/test/support/network-namespace.js';
import { startDpdkPacketForwarder } from '../peers/dpdk-server.js';
import {
  guestReceiveRate,
  packetReceiveRate,
  packetSendRate,
  startPacketSender,
} from '../peers/native-program.js';
import { OwnServer } from '../peers/own-server.js';
import { withPlainGuest } from '../peers/plain-guest.js';
import { forwardRate, type Measurement } from '../peers/vhost-client.js';
import type { Result } from '../result.js';
import {
  BUSY_POLL,
  CLIENT_CORE,
  measurementOf,
  ON_SPLIT_RINGS,
  SERVER_CORE,
  type Settings,
  WARM_UP,
} from '../settings.js';

const NAMESPACE = 'rxvhost-bench';
/** The two ends of a veth: the server's, and that of the station which it talks to. */
const NEAR = 'bench0';
const FAR = 'bench1';
/** Entries: more than what arrives while the guest sleeps. */
const RING = 1024;
const MILLION = 1e6;

/**
 * Frames that a server sends to, and receives from, one end of a veth by a packet socket: beside
 * DPDK's driver for such sockets, and beside loops of `sendmmsg` and `recvmmsg` in C.
 */
export async function packetSocket(settings: Settings): Promise<Result[]> {
  const namespace = new NetworkNamespace(NAMESPACE);
  try {
    namespace.ip('link', 'add', NEAR, 'type', 'veth', 'peer', 'name', FAR);
    for (const ifname of [NEAR, FAR]) namespace.ip('link', 'set', ifname, 'up');
    return [await send(settings, namespace), await receive(settings, namespace)];
  } finally {
    namespace.delete();
  }
}

async function send(settings: Settings, namespace: NetworkNamespace): Promise<Result> {
  const figures = newFigures();
  for (let round = 0; round < settings.rounds; round += 1) {
    const measurement = measurementOf(settings, `raw-send${round}`);
    await measureServers(settings, namespace, measurement, figures, (rings) =>
      forwardRate(rings, namespace, FAR),
    );
    const loop = loopOptions(measurement, NEAR, SERVER_CORE);
    figures.loop.push(packetSendRate({ ...loop, writerCore: CLIENT_CORE }));
  }
  return resultOf('send to a veth, 64-byte frames', 'sendmmsg', figures);
}

/** What the sender sends is the most that there can be: what a server loses shows. */
async function receive(settings: Settings, namespace: NetworkNamespace): Promise<Result> {
  const figures = newFigures();
  const whileSending = async (measurement: Measurement, measure: () => Promise<number>) => {
    const sender = startPacketSender(loopOptions(measurement, FAR, CLIENT_CORE, 3600));
    try {
      return await measure();
    } finally {
      sender.kill('SIGKILL');
    }
  };
  for (let round = 0; round < settings.rounds; round += 1) {
    const measurement = measurementOf(settings, `raw-receive${round}`);
    await measureServers(settings, namespace, measurement, figures, (rings) =>
      whileSending(rings, () => guestRate(rings)),
    );
    const rate = await whileSending(measurement, async () => {
      await delay(WARM_UP * 1000);
      return packetReceiveRate(loopOptions(measurement, NEAR, SERVER_CORE));
    });
    figures.loop.push(rate);
  }
  return resultOf('receive from a veth, 64-byte frames', 'recvmmsg', figures);
}

/** The guest leaves its processor to the sender but for a few per cent. */
async function guestRate({ socketPath, seconds, core, packed }: Measurement): Promise<number> {
  const options = { size: RING, available: RING, calls: false, packed };
  return await withPlainGuest(socketPath, options, (guest) =>
    guestReceiveRate({ guest, seconds, core }),
  );
}

interface Figures {
  readonly own: number[];
  readonly dpdk: number[];
  readonly loop: number[];
  /** Ours on split rings, where `own` are on packed ones. */
  readonly split: number[];
}

const newFigures = (): Figures => ({ own: [], dpdk: [], loop: [], split: [] });

async function measureServers(
  settings: Settings,
  namespace: NetworkNamespace,
  measurement: Measurement,
  figures: Figures,
  rate: (rings: Measurement) => Promise<number>,
): Promise<void> {
  const { socketPath } = measurement;
  const peer = await startDpdkPacketForwarder(socketPath, SERVER_CORE, namespace, NEAR);
  figures.dpdk.push(await rate(measurement));
  await peer.stop();
  const ownRate = async (rings: Measurement): Promise<number> => {
    const server = await OwnServer.start({
      socketPath,
      backend: `raw:${NEAR}`,
      core: SERVER_CORE,
      busyPoll: BUSY_POLL,
      namespace,
      profile: settings.profile,
    });
    const frames = await rate(rings);
    await server.stop();
    return frames;
  };
  figures.own.push(await ownRate(measurement));
  if (settings.packed) figures.split.push(await ownRate({ ...measurement, packed: false }));
}

function loopOptions({ seconds }: Measurement, ifname: string, core: number, forSeconds = seconds) {
  return { namespace: NAMESPACE, ifname, seconds: forSeconds, core };
}

function resultOf(name: string, call: string, { own, dpdk, loop, split }: Figures): Result {
  const millions = (figures: readonly number[]) => figures.map((figure) => figure / MILLION);
  return {
    name,
    unit: 'Mframes/s',
    better: 'more',
    own: millions(own),
    peers: [
      { name: 'DPDK net_vhost and net_af_packet', figures: millions(dpdk) },
      { name: `C loop of ${call}`, figures: millions(loop) },
      ...(split.length > 0 ? [{ name: ON_SPLIT_RINGS, figures: millions(split) }] : []),
    ],
  };
}
