/** TCP with every offload between a guest of QEMU and the host, beside QEMU's own tap. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { measureTcp, startIperfServer, type Throughput } from './support/iperf.js';
import { NetworkNamespace } from './support/network-namespace.js';
import { Guest } from './support/qemu.js';
import {
  needsGuestImage,
  needsProgram,
  needsRoot,
  needsTun,
  peerTest,
} from './support/requirements.js';
import { Server } from './support/server.js';

t.setTimeout(300_000);

const hostAddress = '10.9.4.1';
const configure = 'ip addr add 10.9.4.2/24 dev eth0 && ip link set eth0 up';
const seconds = 3;
/** Bytes of the largest frame that is no large segment. */
const WHOLE_FRAME = 1514;

const requirements = [
  needsRoot,
  needsTun,
  needsGuestImage,
  ...['ip', 'qemu-system-x86_64', 'iperf3'].map(needsProgram),
];

peerTest(
  t,
  'T54 T59 a guest of QEMU sends and receives large segments',
  requirements,
  async (t) => {
    const namespace = await makeNamespace(t);
    const { server, socketPath } = await startServer(t, namespace, 'tap:ifname=offload0');
    addAddress(namespace, 'offload0');
    const guest = await start(t, { socketPath });
    const features = await guest.check('ethtool -k eth0');
    for (const name of ['tx-checksumming', 'rx-checksumming', 'tcp-segmentation-offload']) {
      t.match(features, `${name}: on`);
    }
    await report(t, 'rxvhost on a tap', guest);
    await guest.kill();
    const { statistics } = await server.stop();
    for (const { direction, frames, bytes, drops, errors } of statistics.queues) {
      t.ok(
        bytes / frames > WHOLE_FRAME,
        `${direction}: ${Math.round(bytes / frames)} bytes a frame`,
      );
      t.match({ drops, errors }, { drops: { malformed: 0, refused: 0 }, errors: 0 });
    }

    namespace.ip('tuntap', 'add', 'dev', 'offload1', 'mode', 'tap');
    addAddress(namespace, 'offload1');
    const inside = (command: readonly string[]) => namespace.inside(command);
    const peer = await start(t, { tap: { ifname: 'offload1', inside } });
    await report(t, 'QEMU’s own tap', peer);
  },
);

peerTest(
  t,
  'T58 queue pairs of a guest of QEMU come and go while traffic runs',
  requirements,
  async (t) => {
    const namespace = await makeNamespace(t);
    const backend = 'tap:ifname=offload0,queues=4';
    const { server, socketPath } = await startServer(t, namespace, backend);
    addAddress(namespace, 'offload0');
    const guest = await start(t, { socketPath, queuePairs: 4 });
    t.match(await guest.check('ethtool -l eth0'), /Combined:\s+4\s[\s\S]*Combined:\s+1\s/);
    const toggle =
      'for n in 2 4 1 3 4 2; do sleep 0.5; ethtool -L eth0 combined $n || exit 1; done';
    const result = '[ -s /tmp/there ] && [ -s /tmp/back ] && cat /tmp/there /tmp/back';
    const output = await guest.check(
      `iperf3 -c ${hostAddress} -P 4 -t 4 >/tmp/there 2>&1 & client=$!
       (${toggle}) && wait $client || exit 1
       iperf3 -c ${hostAddress} -P 4 -t 4 -R >/tmp/back 2>&1 & client=$!
       (${toggle}) && wait $client || exit 1
       ethtool -L eth0 combined 4 && ${result}`,
      60_000,
    );
    t.equal(output.match(/SUM.*receiver/g)?.length, 2, 'both transfers came to their end');
    t.match(await guest.check(`ping -c 20 -i 0.1 ${hostAddress}`), / 20 packets received/);
    await guest.check('ethtool -L eth0 combined 1');
    t.match(await guest.check(`ping -c 20 -i 0.1 ${hostAddress}`), / 20 packets received/);
    await guest.kill();
    const { statistics } = await server.stop();
    t.equal(statistics.queues.length, 8);
    for (const { errors } of statistics.queues) t.equal(errors, 0);
    // How flows are spread is the kernels' choice, on either side; that they are spread is ours.
    for (const wanted of ['receive', 'transmit']) {
      const busy = statistics.queues.filter(
        ({ direction, frames }) => direction === wanted && frames > 0,
      );
      t.ok(busy.length > 1, `${busy.length} queues ${wanted}`);
    }
  },
);

async function makeNamespace(t: Test): Promise<NetworkNamespace> {
  const namespace = new NetworkNamespace(`rxvhost-offload-${process.pid}-${t.name.length}`);
  t.teardown(() => namespace.delete());
  const iperf = await startIperfServer(namespace);
  t.teardown(() => iperf.stop('SIGKILL'));
  return namespace;
}

async function startServer(t: Test, namespace: NetworkNamespace, backend: string) {
  const folder = mkdtempSync(join(tmpdir(), 'rxvhost-qemu-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const socketPath = join(folder, 'nic.sock');
  const inside = (command: readonly string[]) => namespace.inside(command);
  const server = await Server.start({ socketPath, backend, inside });
  t.teardown(() => server.kill());
  return { server, socketPath };
}

async function start(t: Test, options: Parameters<typeof Guest.start>[0]): Promise<Guest> {
  const guest = await Guest.start(options);
  t.teardown(() => guest.kill());
  await guest.check(configure);
  await guest.check(`ping -c 1 -W 5 ${hostAddress} || ping -c 1 -W 5 ${hostAddress}`);
  return guest;
}

function addAddress(namespace: NetworkNamespace, ifname: string): void {
  namespace.ip('address', 'add', `${hostAddress}/24`, 'dev', ifname);
  namespace.ip('link', 'set', ifname, 'up');
}

async function report(t: Test, name: string, guest: Guest): Promise<Throughput> {
  const rates = await measureTcp(guest, hostAddress, seconds);
  const gigabits = (rate: number) => (rate / 1e9).toFixed(2);
  const { guestToHost, hostToGuest } = rates;
  t.ok(guestToHost > 0 && hostToGuest > 0);
  t.comment(
    `${name}: ${gigabits(guestToHost)} Gbit/s to the host, ${gigabits(hostToGuest)} to the guest`,
  );
  return rates;
}
