/**
 * Live migration: a guest moves from one QEMU to another while TCP data flows both ways, each QEMU
 * with an rxvhost server and a tap of its own. A bridge joins the taps; it learns the guest's new
 * port from the RARP frame that the second server sends.
 */
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
  needsTun,
  peerTest,
} from './support/requirements.js';
import { Server } from './support/server.js';
import { SlowTransfer } from './support/slow-transfer.js';

t.setTimeout(300_000);

const hostAddress = '10.9.7.1';
const mac = '52:54:00:09:07:02';

const requirements = [
  needsRoot,
  needsTun,
  needsGuestImage,
  ...['ip', 'qemu-system-x86_64', 'socat'].map(needsProgram),
];

for (const ring of ['split', 'packed'] as const) {
  const title = `B8 T27 T61 a guest with ${ring} rings migrates while TCP data flows`;
  peerTest(t, title, requirements, (t) => migrates(t, ring));
}

async function migrates(t: Test, ring: 'split' | 'packed'): Promise<void> {
  const device = ring === 'packed' ? ['packed=on'] : [];
  const folder = mkdtempSync(join(tmpdir(), 'rxvhost-migration-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const namespace = new NetworkNamespace(`rxvhost-migration-${process.pid}`);
  t.teardown(() => namespace.delete());
  namespace.ip('link', 'add', 'bridge0', 'type', 'bridge', 'forward_delay', '0');
  namespace.ip('address', 'add', `${hostAddress}/24`, 'dev', 'bridge0');
  namespace.ip('link', 'set', 'bridge0', 'up');

  const serve = async (name: string) => {
    const socketPath = join(folder, `${name}.sock`);
    const server = await Server.start({
      socketPath,
      backend: `tap:ifname=${name}`,
      inside: (command) => namespace.inside(command),
    });
    t.teardown(() => server.kill());
    namespace.ip('link', 'set', name, 'master', 'bridge0', 'up');
    return { server, socketPath };
  };
  const source = await serve('source0');
  const target = await serve('target0');

  const guest = await Guest.start({ socketPath: source.socketPath, mac, device });
  t.teardown(() => guest.kill());
  await guest.check('ip addr add 10.9.7.2/24 dev eth0 && ip link set eth0 up');
  t.match(await guest.check(`ping -c 3 -i 0.2 ${hostAddress}`), / 3 packets received/);
  const incoming = join(folder, 'incoming');
  const moved = await Guest.start({ socketPath: target.socketPath, mac, device, incoming });
  t.teardown(() => moved.kill());

  const transfer = await SlowTransfer.start(t, {
    ...{ folder, guest, namespace, hostAddress },
    mebibytes: 48,
    pause: 0.3,
  });

  await guest.migrateTo(incoming);
  await transfer.expectUnderWay(moved);
  await guest.kill();
  await transfer.expectIntact(moved);
  t.match(namespace.run(['bridge', 'fdb', 'show']), new RegExp(`${mac} dev target0`));
  await moved.kill();
  for (const { server } of [source, target]) {
    const { statistics } = await server.stop();
    for (const { direction, errors, frames } of statistics.queues) {
      t.equal(errors, 0, `no errors of the ${direction} queue`);
      t.ok(frames > 100, `${frames} frames by the ${direction} queue`);
    }
  }
}
