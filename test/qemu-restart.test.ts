/**
 * A back-end that dies and comes back under a running guest: QEMU connects again, the guest notices
 * nothing but lost frames, which TCP repeats.
 */
import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
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

t.setTimeout(300_000);

const DEATHS = 10;
const MEBIBYTES = 24;
const ifname = 'restart0';
const hostAddress = '10.9.8.1';
/** One mebibyte at a time with pauses: every death falls into the transfer. */
const slowly = (path: string) =>
  `for part in $(seq 0 ${MEBIBYTES - 1}); do dd if=${path} bs=1M count=1 skip=$part 2>/dev/null; sleep 1.2; done`;
const sha256 = (path: string) => createHash('sha256').update(readFileSync(path)).digest('hex');

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

  for (let death = 0; death < DEATHS; death += 1) {
    await delay(500);
    await server.kill();
    server = await serve();
    await server.says(/connected/);
  }
  t.equal((await guest.run('test -e /tmp/first -o -e /tmp/second')).status, 1, 'still under way');
  await guest.check('until test -e /tmp/first -a -e /tmp/second; do sleep 0.2; done', 120_000);
  t.equal((await guest.check('cat /tmp/first /tmp/second')).trim(), '0\n0');
  t.same(await sender.exited, { status: 0, signal: null });
  t.same(await receiver.exited, { status: 0, signal: null });
  t.match(await guest.check('sha256sum /tmp/received', 60_000), sha256(toGuest), 'to the guest');
  t.match(await guest.check('sha256sum /tmp/sent', 60_000), sha256(fromGuest), 'from the guest');
  await guest.kill();
  const { statistics } = await server.stop();
  for (const { direction, errors } of statistics.queues) {
    t.equal(errors, 0, `no errors of the ${direction} queue`);
  }
});
