/**
 * The harness against peers alone: what fails here is no fault of rxvhost. It also shows that the
 * machine's QEMU and DPDK do what the other tests take for granted.
 */
import { execFileSync } from 'node:child_process';
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
import { Testpmd } from './support/testpmd.js';

t.setTimeout(120_000);
const folder = mkdtempSync(join(tmpdir(), 'rxvhost-harness-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));
const needsTestpmd = needsProgram('dpdk-testpmd');
const needsQemu = needsProgram('qemu-system-x86_64');

peerTest(t, 'testpmd counts what testpmd sends', [needsRoot, needsTestpmd], async (t) => {
  const socketPath = join(folder, 'count.sock');
  const backEnd = await Testpmd.start({
    name: 'harness-back',
    core: 0,
    mode: 'rxonly',
    devices: [`net_vhost0,iface=${socketPath}`],
  });
  t.teardown(() => backEnd.kill());
  const frontEnd = await Testpmd.start({
    name: 'harness-front',
    core: 1,
    mode: 'txonly',
    devices: [`net_virtio_user0,path=${socketPath},queue_size=256`],
  });
  t.teardown(() => frontEnd.kill());
  await backEnd.forward();
  await frontEnd.forward();
  await new Promise((resolve) => setTimeout(resolve, 500));
  const [sent] = await frontEnd.stopForwarding();
  await new Promise((resolve) => setTimeout(resolve, 100));
  const [received] = await backEnd.stopForwarding();
  t.ok(sent && sent.transmitted > 0, 'the front-end sent frames');
  t.equal(received?.received, sent?.transmitted);
  t.same(await frontEnd.quit(), { status: 0, signal: null });
  t.same(await backEnd.quit(), { status: 0, signal: null });
});

peerTest(
  t,
  'a Linux guest in QEMU pings through a DPDK back-end and a tap, and reboots',
  [needsRoot, needsTun, needsProgram('ip'), needsTestpmd, needsQemu, needsGuestImage],
  async (t) => {
    const socketPath = join(folder, 'guest.sock');
    const namespace = new NetworkNamespace('rxvhost-harness');
    t.teardown(() => namespace.delete());
    const backEnd = await Testpmd.start({
      name: 'harness-tap',
      core: 0,
      mode: 'io',
      devices: [`net_vhost0,iface=${socketPath}`, 'net_tap0,iface=harness0'],
      inside: (command) => namespace.inside(command),
    });
    t.teardown(() => backEnd.kill());
    namespace.ip('address', 'add', '10.9.0.1/24', 'dev', 'harness0');
    await backEnd.forward();
    const guest = await Guest.start({ socketPath });
    t.teardown(() => guest.kill());
    const failed = await guest.run('echo out; echo err >&2; exit 7');
    t.same(failed, { status: 7, output: 'out\nerr\n' });
    const ping = 'ip addr add 10.9.0.2/24 dev eth0 && ip link set eth0 up && ping -c 3 10.9.0.1';
    t.match(await guest.check(ping), /3 packets received/);
    await guest.reboot();
    t.match(await guest.check(ping), /3 packets received/);
    t.same(await guest.kill(), { status: null, signal: 'SIGKILL' });
  },
);

peerTest(t, 'nothing of the namespace is left', [needsProgram('ip')], async (t) => {
  t.notMatch(execFileSync('ip', ['netns', 'list'], { encoding: 'utf8' }), 'rxvhost-harness');
});
