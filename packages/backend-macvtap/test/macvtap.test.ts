import { execFile, spawnSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  fstatSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  unlinkSync,
} from 'node:fs';
import { promisify } from 'node:util';
import { type TapSocket, tapModule } from '@rxvhost/backend-tap';
import {
  BACKEND_CHAIN,
  BackendRefusal,
  coreModule,
  NET_FEATURE,
  type VhostError,
} from '@rxvhost/core';
import { NetFeature, parseIp, TinyHost } from '@rxvhost/guest';
import { TestGuest } from '@rxvhost/guest/testing';
import {
  closeFd,
  fileStatus,
  interfaceHardwareAddress,
  interfaceIndex,
  interfaceIsUp,
  makeCharacterDevice,
  openTap as openTun,
  setVnetHeaderSize,
  socketPair,
  TUN_OFFLOADS,
  vnetHeaderSize,
} from '@rxvhost/sys';
import { ip, sharedMemory, testInPrivateNetwork, waitUntilUp } from '@rxvhost/sys/testing';
import { Container } from 'inversify';
import t, { type Test } from 'tap';
import { adoptMacvtap, MacvtapProvider, macvtapModule, openMacvtap } from '../src/index.js';

const CLOSED_FD = 999;
const GUEST_IP = parseIp('10.79.0.2');
const HOST_IP = parseIp('10.79.0.1');

let made = 0;

/** A macvtap on one end of a veth; the host's network stack has the other. */
function makeMacvtap(t: Test): string {
  made += 1;
  const [lower, hostEnd, ifname] = [`lower${made}`, `host${made}`, `macvtap${made}`];
  ip(`link add ${lower} type veth peer name ${hostEnd}`);
  for (const end of [lower, hostEnd]) ip(`link set ${end} up`);
  ip(`address add 10.79.0.1/24 dev ${hostEnd}`);
  ip(`link add link ${lower} name ${ifname} type macvtap mode bridge`);
  t.teardown(() => spawnSync('ip', ['link', 'delete', lower]));
  return ifname;
}

/** Pings between the guest of a macvtap and the host, both ways. */
async function assertPings(
  t: Test,
  socket: TapSocket,
  features: bigint = NetFeature.VERSION_1,
): Promise<void> {
  for (const name of [`lower${made}`, `host${made}`, socket.ifname]) waitUntilUp(name);
  const guest = new TestGuest(socket, sharedMemory(), { features });
  const mac = interfaceHardwareAddress(socket.ifname);
  const host = new TinyHost(mac, GUEST_IP, (frame) => void guest.driver.send(frame));
  guest.driver.frames$.subscribe((batch) => {
    for (const frame of batch) host.receive(frame);
  });
  for (const length of [0, 56, 1472]) await host.ping(HOST_IP, length);
  // With -w it waits for three answers; without, for the last one twice as long as for the others.
  const ping = ['-c', '3', '-i', '0.01', '-w', '10', '10.79.0.2'];
  const { stdout } = await promisify(execFile)('ping', ping);
  t.match(stdout, / 3 received/);
  await guest.close();
}

const nodeOf = (ifname: string) => `/dev/tap${interfaceIndex(ifname)}`;

/** Opens a macvtap's device as another process would. */
function openNode(ifname: string): number {
  const { major, minor } = readDevice(ifname);
  const node = `/dev/macvtap-test-${process.pid}`;
  makeCharacterDevice(node, major, minor);
  const fd = openSync(node, 'r+');
  unlinkSync(node);
  return fd;
}

function readDevice(ifname: string): { major: number; minor: number } {
  const folder = `/sys/class/net/${ifname}`;
  const name = readdirSync(folder).find((entry) => /^tap\d+$/.test(entry));
  const numbers = readFileSync(`${folder}/${name}/dev`, 'utf8');
  const [major = 0, minor = 0] = numbers.trim().split(':').map(Number);
  return { major, minor };
}

if (testInPrivateNetwork(t, import.meta.url)) {
  t.test('a guest on a macvtap and the host on the wire beneath ping each other', async (t) => {
    for (const features of [undefined, 0n]) {
      const ifname = makeMacvtap(t);
      t.notOk(interfaceIsUp(ifname));
      const socket = openMacvtap({ ifname });
      t.ok(interfaceIsUp(ifname), 'it was brought up');
      t.equal(socket.headerLength, 12);
      await assertPings(t, socket, features);
      ip(`link delete lower${made}`);
    }
  });

  t.test('T54 it takes the offloads that were negotiated, and none after the guest', async (t) => {
    const socket = openMacvtap({ ifname: makeMacvtap(t) });
    const { GUEST_CSUM, GUEST_TSO4 } = NET_FEATURE;
    t.equal(socket.tunOffloads, 0);
    socket.offloads?.accept(GUEST_CSUM | GUEST_TSO4);
    t.equal(socket.tunOffloads, TUN_OFFLOADS.TUN_F_CSUM | TUN_OFFLOADS.TUN_F_TSO4);
    socket.offloads?.accept(0n);
    t.equal(socket.tunOffloads, 0);
    socket.close();
  });

  t.test('a device node that is missing, or another interface’s, is no hindrance', async (t) => {
    const ifname = makeMacvtap(t);
    const node = nodeOf(ifname);
    const aside = `${node}-aside-${process.pid}`;
    if (existsSync(node)) {
      renameSync(node, aside);
      t.teardown(() => existsSync(aside) && renameSync(aside, node));
    }
    const before = readdirSync('/dev');
    const missing = openMacvtap({ ifname });
    t.same(readdirSync('/dev'), before, 'nothing was left in /dev');
    missing.close();
    makeCharacterDevice(node, 1, 3);
    const other = openMacvtap({ ifname });
    unlinkSync(node);
    await assertPings(t, other);
  });

  t.test('T53 an adopted macvtap is asked how its frames are laid out', async (t) => {
    const ifname = makeMacvtap(t);
    const fd = openNode(ifname);
    setVnetHeaderSize(fd, 10);
    const socket = adoptMacvtap(fd);
    t.equal(socket.ifname, ifname);
    t.equal(socket.temporary, false);
    t.equal(vnetHeaderSize(fd), 12);
    ip(`link set ${ifname} up`);
    await assertPings(t, socket);
    t.throws(() => fstatSync(fd), { code: 'EBADF' });
  });

  t.test('a macvtap that is deleted under us fails its observables', async (t) => {
    const ifname = makeMacvtap(t);
    const socket = openMacvtap({ ifname });
    const failed = new Promise<VhostError>((resolve) => {
      socket.readable$.subscribe({ error: resolve });
    });
    ip(`link delete ${ifname}`);
    const error = await failed;
    t.equal(error.code, 'EBADFD');
    t.match(error.message, new RegExp(`${ifname} is gone`));
    socket.close();
  });

  t.test('closing ends both observables', async (t) => {
    const socket = openMacvtap({ ifname: makeMacvtap(t) });
    let completed = 0;
    socket.readable$.subscribe({ complete: () => (completed += 1) });
    socket.writable$.subscribe({ complete: () => (completed += 1) });
    socket.close();
    socket.close();
    t.equal(completed, 2);
  });

  t.test('opening says what is in the way and what to do', async (t) => {
    t.throws(() => openMacvtap({ ifname: 'a/b' }), { code: 'EINVAL', message: /not allowed/ });
    t.throws(() => openMacvtap({ ifname: 'none0' }), {
      code: 'ENODEV',
      message: /no interface none0: .*ip link add .* type macvtap/,
    });
    t.throws(() => openMacvtap({ ifname: 'lo' }), { code: 'EINVAL', message: /lo .* no macvtap/ });
    const ifname = makeMacvtap(t);
    const index = new URL('../src/index.js', import.meta.url).href;
    const script = `import { openMacvtap } from ${JSON.stringify(index)};
      try { openMacvtap({ ifname: '${ifname}' }); } catch (error) { console.log(error.code, error.message); }`;
    const command = ['--reuid=nobody', '--clear-groups', process.execPath, '--input-type=module'];
    const { stdout } = spawnSync('setpriv', [...command, '-e', script], { encoding: 'utf8' });
    t.match(stdout, /^E(PERM|ACCES) .*run as root/);
  });

  t.test(
    'C10 the provider takes macvtaps, leaves everything else alone, and says why',
    async (t) => {
      const provider = new MacvtapProvider();
      const refusal = (fd: number) => {
        const answer = provider.open(fd);
        if (answer instanceof BackendRefusal) return answer.error.code;
        answer.close();
        return 'taken';
      };
      t.equal(refusal(CLOSED_FD), 'EBADF');
      const file = openSync('/dev/null', 'r');
      t.equal(refusal(file), 'ENOTSOCK');
      closeSync(file);
      const [one, other] = socketPair();
      t.equal(refusal(one), 'ENOTSOCK');
      closeFd(one);
      closeFd(other);
      const tap = openTun('tap0');
      t.equal(refusal(tap.fd), 'ENOTSOCK', 'a tap answers the same requests and is none');
      closeFd(tap.fd);
      const ifname = makeMacvtap(t);
      const fd = openNode(ifname);
      t.equal(refusal(fd), 'taken');
      t.equal(fileStatus(fd).kind, 'character', 'the fd stays its caller’s');
      ip(`link delete ${ifname}`);
      t.equal(refusal(fd), 'EBADFD', 'its interface is gone');
      closeFd(fd);
    },
  );

  t.test('C10 the module puts the provider into the chain, behind that of taps', async (t) => {
    const container = new Container();
    container.load(coreModule, tapModule, macvtapModule);
    const chain = container.get(BACKEND_CHAIN);
    t.same(
      chain.providers.map(({ name }) => name),
      ['tap', 'macvtap'],
    );
    const fd = openNode(makeMacvtap(t));
    const socket = chain.open(fd);
    t.equal(socket.headerLength, 12);
    socket.close();
    closeFd(fd);
  });
}
