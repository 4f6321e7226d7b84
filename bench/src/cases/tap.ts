import { NetworkNamespace } from '@rxvhost/test/support/network-namespace.js';
import { startDpdkTapForwarder } from '../peers/dpdk-server.js';
import { tapWriteRate } from '../peers/native-program.js';
import { OwnServer } from '../peers/own-server.js';
import { forwardRate, type Measurement } from '../peers/vhost-client.js';
import type { Result } from '../result.js';
import {
  BUSY_POLL,
  measurementOf,
  ON_SPLIT_RINGS,
  SERVER_CORE,
  type Settings,
} from '../settings.js';

const NAMESPACE = 'rxvhost-bench';
const TAP = 'bench0';
const MILLION = 1e6;

/** Frames that a server forwards to a tap, beside DPDK and beside a C loop of `writev`. */
export async function transmitTap(settings: Settings): Promise<Result[]> {
  const own: number[] = [];
  const dpdk: number[] = [];
  const loop: number[] = [];
  const split: number[] = [];
  const namespace = new NetworkNamespace(NAMESPACE);
  try {
    for (let round = 0; round < settings.rounds; round += 1) {
      const measurement = measurementOf(settings, `tap${round}`);
      const { socketPath, seconds } = measurement;
      const peer = await startDpdkTapForwarder(socketPath, SERVER_CORE, namespace, TAP);
      dpdk.push((await forwardRate(measurement, namespace, TAP)) / MILLION);
      await peer.stop();
      const ownRate = async (rings: Measurement): Promise<number> => {
        const server = await OwnServer.start({
          socketPath,
          backend: `tap:${TAP}`,
          core: SERVER_CORE,
          busyPoll: BUSY_POLL,
          namespace,
          profile: settings.profile,
        });
        const rate = await forwardRate(rings, namespace, TAP);
        await server.stop();
        return rate / MILLION;
      };
      own.push(await ownRate(measurement));
      if (settings.packed) split.push(await ownRate({ ...measurement, packed: false }));
      const rate = tapWriteRate({ namespace: NAMESPACE, ifname: TAP, seconds, core: SERVER_CORE });
      loop.push(rate / MILLION);
    }
  } finally {
    namespace.delete();
  }
  return [
    {
      name: 'transmit to a tap, 64-byte frames',
      unit: 'Mframes/s',
      better: 'more',
      own,
      peers: [
        { name: 'DPDK net_vhost to net_tap', figures: dpdk },
        { name: 'C loop of writev', figures: loop },
        ...(settings.packed ? [{ name: ON_SPLIT_RINGS, figures: split }] : []),
      ],
    },
  ];
}
