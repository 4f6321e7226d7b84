/** A Linux guest in QEMU whose `rxvhost net` card is behind a virtual IOMMU. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
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
import { copies64MebibytesEachWay } from './support/tcp-copy.js';

t.setTimeout(300_000);

const hostAddress = '10.9.5.1';
const requirements = [
  needsRoot,
  needsTun,
  needsGuestImage,
  ...['ip', 'qemu-system-x86_64', 'socat'].map(needsProgram),
];

peerTest(
  t,
  'B10 T16 T29 a guest of QEMU behind an Intel IOMMU talks to the host',
  requirements,
  async (t) => {
    const namespace = new NetworkNamespace(`rxvhost-iommu-${process.pid}`);
    t.teardown(() => namespace.delete());
    namespace.ip('tuntap', 'add', 'tap0', 'mode', 'tap', 'vnet_hdr');
    namespace.ip('address', 'add', `${hostAddress}/24`, 'dev', 'tap0');
    namespace.ip('link', 'set', 'tap0', 'up');
    const folder = mkdtempSync(join(tmpdir(), 'rxvhost-qemu-'));
    t.teardown(() => rmSync(folder, { recursive: true, force: true }));
    const socketPath = join(folder, 'nic.sock');
    const inside = (command: readonly string[]) => namespace.inside(command);
    const backend = 'tap:ifname=tap0';
    const server = await Server.start({ socketPath, backend, inside, arguments: ['--iommu'] });
    t.teardown(() => server.kill());

    const guest = await Guest.start({ socketPath, iommu: true });
    t.teardown(() => guest.kill());
    t.match(await guest.check('ls /sys/class/iommu'), /dmar/, 'the guest uses its IOMMU');
    const features = await guest.check('cat /sys/class/net/eth0/device/features');
    t.equal(features.trim()[33], '1', 'and the card goes by it');
    await guest.check('ip addr add 10.9.5.2/24 dev eth0 && ip link set eth0 up');
    await guest.check(`ping -c 1 -W 5 ${hostAddress} || ping -c 1 -W 5 ${hostAddress}`);
    t.match(await guest.check(`ping -c 20 -i 0.1 ${hostAddress}`), / 20 packets received/);
    await copies64MebibytesEachWay(t, { folder, guest, namespace, hostAddress });
    // The driver comes down and up again: other mappings at the same addresses.
    await guest.check('ip link set eth0 down && ip link set eth0 up');
    await guest.check(`ping -c 1 -W 5 ${hostAddress} || ping -c 1 -W 5 ${hostAddress}`);
    t.notMatch(guest.stderr, /translat|IOTLB/i, 'QEMU was never asked for what it does not know');
    await guest.kill();
    const { exit, statistics } = await server.stop();
    t.same(exit, { status: 0, signal: null });
    for (const { direction, errors } of statistics.queues) {
      t.equal(errors, 0, `no errors of the ${direction} queue`);
    }
  },
);
