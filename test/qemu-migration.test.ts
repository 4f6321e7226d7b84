/**
 * Live migration: a guest moves from one QEMU to another while TCP data flows both ways, each QEMU
 * with an rxvhost server and a tap of its own. A bridge joins the taps; it learns the guest's new
 * port from the RARP frame that the second server sends.
 */
import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
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

t.setTimeout(300_000);

const MEBIBYTES = 48;
const hostAddress = '10.9.7.1';
const mac = '52:54:00:09:07:02';
/** One mebibyte at a time with pauses: long enough for the guest to move in the middle. */
const slowly = (path: string) =>
  `for part in $(seq 0 ${MEBIBYTES - 1}); do dd if=${path} bs=1M count=1 skip=$part 2>/dev/null; sleep 0.3; done`;
const sha256 = (path: string) => createHash('sha256').update(readFileSync(path)).digest('hex');

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

  const [toGuest, fromGuest] = [join(folder, 'to-guest'), join(folder, 'from-guest')];
  writeFileSync(toGuest, randomBytes(MEBIBYTES * 1024 * 1024));
  const sender = namespace.start('sender', [
    ...['sh', '-c', `{ ${slowly(toGuest)}; } | socat -u - TCP-LISTEN:5001,reuseaddr`],
  ]);
  t.teardown(() => sender.stop('SIGKILL'));
  const receiver = namespace.start('receiver', [
    ...['socat', '-u', 'TCP-LISTEN:5002,reuseaddr', `CREATE:${fromGuest}`],
  ]);
  t.teardown(() => receiver.stop('SIGKILL'));
  await guest.check(`dd if=/dev/urandom of=/tmp/sent bs=1M count=${MEBIBYTES} 2>/dev/null`, 60_000);
  const connect = 'retry=50,interval=0.1';
  await guest.check(
    `(socat -u TCP:${hostAddress}:5001,${connect} CREATE:/tmp/received; echo $? >/tmp/first) >/dev/null 2>&1 &
     ({ ${slowly('/tmp/sent')}; } | socat -u - TCP:${hostAddress}:5002,${connect}; echo $? >/tmp/second) >/dev/null 2>&1 &`,
  );
  await guest.check('until test -s /tmp/received; do sleep 0.1; done', 60_000);

  await guest.migrateTo(incoming);
  t.equal((await moved.run('test -e /tmp/first -o -e /tmp/second')).status, 1, 'still under way');
  await guest.kill();
  await moved.check('until test -e /tmp/first -a -e /tmp/second; do sleep 0.2; done', 120_000);
  t.equal((await moved.check('cat /tmp/first /tmp/second')).trim(), '0\n0');
  t.same(await sender.exited, { status: 0, signal: null });
  t.same(await receiver.exited, { status: 0, signal: null });
  t.match(await moved.check('sha256sum /tmp/received', 60_000), sha256(toGuest), 'to the guest');
  t.match(await moved.check('sha256sum /tmp/sent', 60_000), sha256(fromGuest), 'from the guest');
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
