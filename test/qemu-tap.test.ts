/** A Linux guest in QEMU whose network card is `rxvhost net` on a tap. */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
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

t.setTimeout(240_000);

const ifname = 'qemutap0';
const hostAddress = '10.9.1.1';
const configure = 'ip addr add 10.9.1.2/24 dev eth0 && ip link set eth0 up';

/** Prints whether RING_PACKED is negotiated: bit 34, behind that many others. */
const ringFeature = 'cut -c35 /sys/class/net/eth0/device/features';

const requirements = [
  needsRoot,
  needsTun,
  needsGuestImage,
  ...['ip', 'qemu-system-x86_64', 'socat'].map(needsProgram),
];

for (const ring of ['split', 'packed'] as const) {
  const title = `T19 a guest of QEMU has a network card with ${ring} rings`;
  peerTest(t, title, requirements, (t) => servesGuest(t, ring));
}

async function servesGuest(t: Test, ring: 'split' | 'packed'): Promise<void> {
  const device = ring === 'packed' ? ['packed=on'] : [];
  const folder = mkdtempSync(join(tmpdir(), 'rxvhost-qemu-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const namespace = new NetworkNamespace(`rxvhost-qemu-${process.pid}`);
  t.teardown(() => namespace.delete());
  const socketPath = join(folder, 'nic.sock');
  const server = await Server.start({
    socketPath,
    backend: `tap:ifname=${ifname}`,
    inside: (command) => namespace.inside(command),
  });
  t.teardown(() => server.kill());
  namespace.ip('address', 'add', `${hostAddress}/24`, 'dev', ifname);
  namespace.ip('link', 'set', ifname, 'up');
  const idle = server.heldResources();

  let guest = await Guest.start({ socketPath, device });
  t.teardown(() => guest.kill());
  await guest.check(configure);

  await t.test('its rings are what they should be', async (t) => {
    t.equal((await guest.check(ringFeature)).trim(), ring === 'packed' ? '1' : '0');
  });

  await t.test('it pings the host 20 of 20', async (t) => {
    t.match(await guest.check(`ping -c 20 -i 0.1 ${hostAddress}`), / 20 packets received/);
  });

  await t.test('64 MiB arrive unchanged in each direction', (t) =>
    copies64MebibytesEachWay(t, { folder, guest, namespace, hostAddress }),
  );

  await t.test('it works again after its link was down', async (t) => {
    await guest.check('ip link set eth0 down');
    t.not((await guest.run(`ping -c 1 -W 1 ${hostAddress}`)).status, 0);
    await guest.check('ip link set eth0 up');
    await answersPing(t, guest);
  });

  await t.test('it works again after its driver was unbound', async (t) => {
    await guest.check(
      `device=$(basename "$(readlink /sys/class/net/eth0/device)")
       cd /sys/bus/virtio/drivers/virtio_net
       echo "$device" >unbind && test ! -e /sys/class/net/eth0 && echo "$device" >bind`,
    );
    await guest.check(configure);
    await answersPing(t, guest);
  });

  await t.test('it works again after the guest rebooted', async (t) => {
    await guest.reboot();
    await guest.check(configure);
    await answersPing(t, guest);
  });

  await t.test('it works for a new QEMU after SIGKILL ended the old one', async (t) => {
    t.same(await guest.kill(), { status: null, signal: 'SIGKILL' });
    guest = await Guest.start({ socketPath, device });
    await guest.check(configure);
    await answersPing(t, guest);
  });

  await t.test('the server holds no more than before when its guests are gone', async (t) => {
    await guest.kill();
    t.ok(server.running);
    await server.says(/disconnected[\s\S]*disconnected/);
    t.same(await server.heldResourcesOnce(idle), idle);
  });

  await t.test('SIGTERM ends the server within a second and leaves nothing behind', async (t) => {
    const { exit, statistics, duration } = await server.stop();
    t.same(exit, { status: 0, signal: null });
    t.ok(duration < 1000, `took ${Math.round(duration)} ms`);
    t.notOk(existsSync(socketPath), 'no socket file');
    t.notOk(namespace.hasInterface(ifname), 'no tap');
    t.notMatch(server.stderr, /^\s+at /m, 'no stack trace');
    for (const { direction, errors } of statistics.queues) {
      t.equal(errors, 0, `no errors of the ${direction} queue`);
    }
  });
}

async function answersPing(t: Test, guest: Guest): Promise<void> {
  // Waits for up to 10 s in all: an interface that has just come up takes a moment.
  const ping = `for try in 1 2 3 4 5; do ping -c 3 -i 0.1 -W 2 ${hostAddress} && exit 0; done; exit 1`;
  t.match(await guest.check(ping), / 3 packets received/);
}
