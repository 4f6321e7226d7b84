/** A Linux guest in QEMU whose network card is `rxvhost net` on an interface or a macvtap. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { NetworkNamespace } from './support/network-namespace.js';
import { Guest } from './support/qemu.js';
import {
  needsGuestImage,
  needsProgram,
  needsRoot,
  peerTest,
  repositoryRoot,
} from './support/requirements.js';
import { Server } from './support/server.js';
import { copies64MebibytesEachWay } from './support/tcp-copy.js';

t.setTimeout(300_000);

const hostAddress = '10.9.2.1';
const guestMac = '52:54:00:00:02:02';
/** Properties of QEMU's card that keep the guest from accepting any offload. */
const noOffloads = ['csum', 'guest_csum', 'gso', 'guest_tso4', 'guest_tso6', 'guest_ecn']
  .concat(['guest_ufo', 'host_tso4', 'host_tso6', 'host_ecn', 'host_ufo'])
  .map((name) => `${name}=off`);

const requirements = [
  needsRoot,
  needsGuestImage,
  ...['ip', 'qemu-system-x86_64', 'socat'].map(needsProgram),
];

/** A network with a veth: `lower` for the guest, `upper` with the host's address. */
function makeNetwork(t: Test, name: string): NetworkNamespace {
  const namespace = new NetworkNamespace(`rxvhost-${name}-${process.pid}`);
  t.teardown(() => namespace.delete());
  namespace.ip('link', 'add', 'lower', 'type', 'veth', 'peer', 'name', 'upper');
  for (const end of ['lower', 'upper']) namespace.ip('link', 'set', end, 'up');
  namespace.ip('address', 'add', `${hostAddress}/24`, 'dev', 'upper');
  return namespace;
}

async function startServer(t: Test, namespace: NetworkNamespace, backend: string) {
  const folder = mkdtempSync(join(tmpdir(), 'rxvhost-qemu-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const socketPath = join(folder, 'nic.sock');
  const inside = (command: readonly string[]) => namespace.inside(command);
  const server = await Server.start({ socketPath, backend, inside });
  t.teardown(() => server.kill());
  return { server, socketPath, folder };
}

async function startGuest(t: Test, socketPath: string, device: readonly string[]): Promise<Guest> {
  const guest = await Guest.start({ socketPath, mac: guestMac, device });
  t.teardown(() => guest.kill());
  await guest.check('ip addr add 10.9.2.2/24 dev eth0 && ip link set eth0 up');
  return guest;
}

/** Pings and copies with offloads and without, in a guest each. */
async function talks(t: Test, namespace: NetworkNamespace, backend: string): Promise<void> {
  const { server, socketPath, folder } = await startServer(t, namespace, backend);
  for (const device of [[], noOffloads]) {
    await t.test(`offloads ${device.length === 0 ? 'on' : 'off'}`, async (t) => {
      const guest = await startGuest(t, socketPath, device);
      // The first answer may take a moment: an interface that has just come up is slow.
      await guest.check(`ping -c 1 -W 5 ${hostAddress} || ping -c 1 -W 5 ${hostAddress}`);
      t.match(await guest.check(`ping -c 20 -i 0.1 ${hostAddress}`), / 20 packets received/);
      await copies64MebibytesEachWay(t, { folder, guest, namespace, hostAddress });
    });
  }
  const { exit, statistics } = await server.stop();
  t.same(exit, { status: 0, signal: null });
  for (const { direction, errors } of statistics.queues) {
    t.equal(errors, 0, `no errors of the ${direction} queue`);
  }
}

peerTest(t, 'a guest of QEMU on an interface talks to the host', requirements, async (t) => {
  await talks(t, makeNetwork(t, 'raw'), 'raw:ifname=lower');
});

peerTest(t, 'a guest of QEMU on a macvtap talks to the host', requirements, async (t) => {
  const namespace = makeNetwork(t, 'macvtap');
  const macvtap = ['name', 'macvtap0', 'address', guestMac, 'type', 'macvtap', 'mode', 'bridge'];
  namespace.ip('link', 'add', 'link', 'lower', ...macvtap);
  await talks(t, namespace, 'macvtap:ifname=macvtap0');
});

peerTest(
  t,
  'T56 frames of a VLAN arrive tagged in a guest of QEMU, and leave it so',
  requirements,
  async (t) => {
    const namespace = makeNetwork(t, 'vlan');
    const { socketPath } = await startServer(t, namespace, 'raw:ifname=lower');
    const program = join(repositoryRoot, 'test', 'dist', 'support', 'tagged-host.js');
    const command = [process.execPath, program, 'upper', '7', '10.9.3.1'];
    const host = namespace.start('tagged host', command);
    t.teardown(() => host.stop('SIGKILL'));
    await host.waitFor(/ready/);
    const guest = await startGuest(t, socketPath, []);
    await guest.check(
      `ip link add link eth0 name vlan7 type vlan id 7
       ip addr add 10.9.3.2/24 dev vlan7 && ip link set vlan7 up`,
    );
    await guest.check('ping -c 1 -W 5 10.9.3.1 || ping -c 1 -W 5 10.9.3.1');
    t.match(await guest.check('ping -c 20 -i 0.1 -s 1472 10.9.3.1'), / 20 packets received/);
  },
);
