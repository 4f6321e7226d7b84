/**
 * A back-end that dies and comes back under a running guest: QEMU connects again, the guest notices
 * nothing but lost frames, which TCP repeats.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
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
import { SlowTransfer } from './support/slow-transfer.js';

t.setTimeout(300_000);

const DEATHS = 10;
const ifname = 'restart0';
const hostAddress = '10.9.8.1';

const requirements = [
  needsRoot,
  needsTun,
  needsGuestImage,
  ...['ip', 'qemu-system-x86_64', 'socat'].map(needsProgram),
];

peerTest(t, 'T10 T06 a TCP transfer outlives ten back-ends', requirements, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'rxvhost-restart-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const namespace = new NetworkNamespace(`rxvhost-restart-${process.pid}`);
  t.teardown(() => namespace.delete());
  // A tap that outlives the servers, and with it its address.
  namespace.ip('tuntap', 'add', ifname, 'mode', 'tap', 'vnet_hdr');
  namespace.ip('address', 'add', `${hostAddress}/24`, 'dev', ifname);
  namespace.ip('link', 'set', ifname, 'up');
  const socketPath = join(folder, 'nic.sock');
  const serve = () =>
    Server.start({
      socketPath,
      backend: `tap:ifname=${ifname}`,
      inside: (command) => namespace.inside(command),
    });
  let server = await serve();
  t.teardown(() => server.kill());
  const guest = await Guest.start({ socketPath, reconnect: true });
  t.teardown(() => guest.kill());
  await guest.check('ip addr add 10.9.8.2/24 dev eth0 && ip link set eth0 up');
  t.match(await guest.check(`ping -c 3 -i 0.2 ${hostAddress}`), / 3 packets received/);

  const transfer = await SlowTransfer.start(t, {
    ...{ folder, guest, namespace, hostAddress },
    mebibytes: 24,
    pause: 1.2,
  });

  for (let death = 0; death < DEATHS; death += 1) {
    await delay(500);
    await server.kill();
    server = await serve();
    await server.says(/connected/);
  }
  await transfer.expectUnderWay(guest);
  await transfer.expectIntact(guest);
  await guest.kill();
  const { statistics } = await server.stop();
  for (const { direction, errors } of statistics.queues) {
    t.equal(errors, 0, `no errors of the ${direction} queue`);
  }
});
