import { join } from 'node:path';
import { NetworkNamespace } from '@rxvhost/test/support/network-namespace.js';
import { startDpdkSink, startDpdkTapForwarder } from '../peers/dpdk-server.js';
import { tapWriteRate } from '../peers/native-program.js';
import { OwnServer } from '../peers/own-server.js';
import { forwardRate, type Measurement, transmitRate } from '../peers/vhost-client.js';
import type { Result } from '../result.js';
import { BUSY_POLL, CLIENT_CORE, SERVER_CORE, type Settings, WARM_UP } from '../settings.js';

const NAMESPACE = 'rxvhost-bench';
const TAP = 'bench0';
const MILLION = 1e6;

/** Frames that a server takes out of the guest's memory and drops, beside DPDK's vhost port. */
export async function transmitDrain(settings: Settings): Promise<Result[]> {
  const own: number[] = [];
  const dpdk: number[] = [];
  for (let round = 0; round < settings.rounds; round += 1) {
    const measurement = measure(settings, `drain${round}`);
    const { socketPath } = measurement;
    const peer = await startDpdkSink(socketPath, SERVER_CORE);
    dpdk.push((await transmitRate(measurement)) / MILLION);
    await peer.stop();
    const server = await OwnServer.start({
      socketPath,
      backend: 'copy',
      core: SERVER_CORE,
      busyPoll: BUSY_POLL,
      profile: settings.profile,
    });
    own.push((await transmitRate(measurement)) / MILLION);
    await server.stop();
  }
  return [
    {
      name: 'transmit drain, 64-byte frames',
      unit: 'Mframes/s',
      better: 'more',
      own,
      peers: [{ name: 'DPDK net_vhost rxonly', figures: dpdk }],
    },
  ];
}

/** Frames that a server forwards to a tap, beside DPDK and beside a C loop of `writev`. */
export async function transmitTap(settings: Settings): Promise<Result[]> {
  const own: number[] = [];
  const dpdk: number[] = [];
  const loop: number[] = [];
  const namespace = new NetworkNamespace(NAMESPACE);
  try {
    for (let round = 0; round < settings.rounds; round += 1) {
      const measurement = measure(settings, `tap${round}`);
      const { socketPath, seconds } = measurement;
      const peer = await startDpdkTapForwarder(socketPath, SERVER_CORE, namespace, TAP);
      dpdk.push((await forwardRate(measurement, namespace, TAP)) / MILLION);
      await peer.stop();
      const server = await OwnServer.start({
        socketPath,
        backend: `tap:${TAP}`,
        core: SERVER_CORE,
        busyPoll: BUSY_POLL,
        namespace,
        profile: settings.profile,
      });
      own.push((await forwardRate(measurement, namespace, TAP)) / MILLION);
      await server.stop();
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
      ],
    },
  ];
}

function measure({ folder, seconds }: Settings, name: string): Measurement {
  return { socketPath: join(folder, `${name}.sock`), seconds, warmUp: WARM_UP, core: CLIENT_CORE };
}
