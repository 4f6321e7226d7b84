import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { readdirSync, readlinkSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { BackendRefusal, ERRNO } from '@rxvhost/core';
import {
  buildEthernet,
  buildIpv4,
  internetChecksum,
  ONE_DESCRIPTOR,
  parseIp,
  parseMac,
  TinyHost,
} from '@rxvhost/guest';
import { TestGuest } from '@rxvhost/guest/testing';
import {
  FrameBuffers,
  ip,
  setIpv6,
  sharedMemory,
  testInPrivateNetwork,
} from '@rxvhost/sys/testing';
import { firstValueFrom, timeout } from 'rxjs';
import t, { type Test } from 'tap';
import { openIp, RawProvider } from '../src/index.js';
import { buildIpv6, parseIpv6 } from '../src/ip/ip-packet.js';
import { loadRawLibrary } from '../src/ip/raw-library.js';

const GUEST_MAC = parseMac('52:54:00:00:00:01');
const GATEWAY_MAC = parseMac('52:55:0a:00:02:02');
const REMOTE = parseIp('10.81.0.2');
const GUEST = parseIp('192.168.7.7');
const SCATTERED = { headerDescriptors: 1, frameDescriptors: 3 };

/** Another host on a wire with this one. Both have IPv4 and IPv6 addresses. */
async function makeRemote(t: Test): Promise<void> {
  const child: ChildProcess = spawn('unshare', ['--net', 'sleep', '120'], { stdio: 'ignore' });
  t.teardown(() => child.kill('SIGKILL'));
  const own = readlinkSync('/proc/self/ns/net');
  while (readlinkSync(`/proc/${child.pid}/ns/net`) === own) await delay(5);
  const inside = (command: string) =>
    spawnSync('nsenter', ['-t', String(child.pid), '-n', ...command.split(' ')]);
  ip('link set lo up');
  ip('link add wire type veth peer name far');
  ip(`link set far netns ${child.pid}`);
  for (const command of [
    'ip link set lo up',
    'ip address add 10.81.0.2/24 dev far',
    'ip -6 address add fd81::2/64 dev far nodad',
    'ip link set far up',
  ]) {
    inside(command);
  }
  ip('address add 10.81.0.1/24 dev wire');
  setIpv6(true);
  ip('-6 address add fd81::1/64 dev wire nodad');
  ip('link set wire up');
  t.teardown(() => ip('link delete wire'));
  // The kernel drops what is sent before it has heard, some time later, that the other end is up.
  while (!/qdisc (?!noop ).* state UP/.test(ip('link show dev wire'))) await delay(5);
}

function hostOn(guest: TestGuest, address: Uint8Array): TinyHost {
  const host = new TinyHost(GUEST_MAC, address, (frame) => void guest.driver.send(frame));
  guest.driver.frames$.subscribe((batch) => {
    for (const frame of batch) host.receive(frame);
  });
  return host;
}

const echoFrame = (bytes: number) => {
  const echo = Buffer.alloc(8 + bytes, 7);
  echo.set([8, 0, 0, 0, 0, 9, 0, 1]);
  echo.writeUInt16BE(internetChecksum(echo), 2);
  const packet = buildIpv4({ source: GUEST, destination: REMOTE, protocol: 1, payload: echo });
  return buildEthernet(GATEWAY_MAC, GUEST_MAC, 0x0800, packet);
};

/** The library is an optional dependency: it takes a C++ compiler to build. */
function hasLibrary(): boolean {
  try {
    loadRawLibrary();
    return true;
  } catch {
    const reason = 'needs the raw-socket library, built for this Node';
    if (process.env['RXVHOST_REQUIRE_PEERS'] === '1') t.fail(reason);
    else t.pass('IP sockets', { skip: reason });
    return false;
  }
}

/** An ICMPv6 echo request, its checksum right for these two addresses. */
function echoFrame6(source: string, destination: string): Uint8Array {
  const message = Uint8Array.of(128, 0, 0, 0, 0, 9, 0, 1, ...new Uint8Array(400).fill(5));
  const packet = buildIpv6(parseIpv6(source), parseIpv6(destination), 58, 64, message);
  return buildEthernet(GATEWAY_MAC, GUEST_MAC, 0x86dd, packet);
}

if (hasLibrary() && testInPrivateNetwork(t, import.meta.url)) {
  t.test('C11 a guest pings another host, its frames sent by reference', async (t) => {
    await makeRemote(t);
    for (const shape of [ONE_DESCRIPTOR, SCATTERED]) {
      const socket = openIp({ protocols: ['icmp'] });
      const guest = new TestGuest(socket, sharedMemory(), { transmitShape: shape });
      const host = hostOn(guest, GUEST);
      for (const length of [0, 56, 300, 1400, 1472]) await host.ping(REMOTE, length);
      while (guest.driver.pendingFrames() > 0) await delay(5);
      const [, transmit] = guest.device.statistics().queues;
      t.equal(transmit?.zeroCopy, 3, 'those of 256 bytes and more went by reference');
      t.equal(transmit?.zeroCopyFailures, 0);
      t.equal(transmit?.strayCompletions, 0);
      await guest.close();
    }
  });

  t.test('C13 many frames by reference complete, each one once', async (t) => {
    await makeRemote(t);
    const socket = openIp({ protocols: ['icmp'] });
    const buffers = new FrameBuffers();
    const completed: number[] = [];
    socket.zeroCopy.completions$.subscribe(({ count, tickets, succeeded }) => {
      completed.push(...tickets.subarray(0, count));
      t.ok(succeeded.subarray(0, count).every((value) => value === 1));
    });
    const count = 200;
    const tickets = Uint32Array.from({ length: 256 }, (_, frame) => 1_000_000 + frame);
    const batch = buffers.transmit(Array<Uint8Array>(count).fill(echoFrame(1000)));
    t.equal(socket.zeroCopy.send(batch, 0, tickets), count);
    t.equal(completed.length, 0, 'nothing completes within the call');
    while (completed.length < count) await delay(5);
    t.same(completed, [...tickets.subarray(0, count)]);
    socket.close();
    buffers.release();
  });

  t.test('C13 what is outstanding when the socket closes completes as failed', async (t) => {
    await makeRemote(t);
    const socket = openIp({ protocols: ['icmp'] });
    const buffers = new FrameBuffers();
    const outcomes: number[] = [];
    let ended = 0;
    socket.zeroCopy.completions$.subscribe({
      next: ({ count, succeeded }) => outcomes.push(...succeeded.subarray(0, count)),
      complete: () => (ended += 1),
    });
    const batch = buffers.transmit(Array<Uint8Array>(10).fill(echoFrame(1000)));
    socket.zeroCopy.send(
      batch,
      0,
      new Uint32Array(256).map((_, frame) => frame),
    );
    socket.readable$.subscribe({ complete: () => (ended += 1) });
    socket.writable$.subscribe({ complete: () => (ended += 1) });
    socket.close();
    socket.close();
    t.same(outcomes, Array(10).fill(0));
    t.equal(ended, 3);
    buffers.release();
  });

  t.test('C4 a full library takes no more until it has sent', async (t) => {
    await makeRemote(t);
    const socket = openIp({ protocols: ['icmp'] });
    const buffers = new FrameBuffers();
    const batch = buffers.transmit(Array<Uint8Array>(200).fill(echoFrame(100)));
    t.same([socket.send(batch, 0), socket.send(batch, 0), socket.send(batch, 0)], [200, 200, 112]);
    await firstValueFrom(socket.writable$.pipe(timeout(5000)));
    t.ok(socket.send(batch, 0) > 0);
    socket.close();
    buffers.release();
  });

  t.test('only the chosen protocols leave, and no fragments or half packets', async (t) => {
    await makeRemote(t);
    const socket = openIp({ protocols: ['icmp'] });
    const buffers = new FrameBuffers();
    const change = (at: number, ...bytes: number[]) => {
      const frame = echoFrame(300);
      frame.set(bytes, at);
      return frame;
    };
    const batch = buffers.transmit([
      change(23, 17),
      change(14, 0x65),
      change(14, 0x44),
      change(16, 0x05, 0xdc),
      change(20, 0x20, 0),
      change(20, 0, 1),
      change(12, 0x88, 0xb5),
      echoFrame6('fd81::1', 'fd81::2'),
      echoFrame(300).subarray(0, 20),
      new Uint8Array(3),
    ]);
    t.equal(socket.send(batch, 0), 10);
    t.same([...batch.results.subarray(0, 10)], Array(10).fill(-ERRNO.EPROTONOSUPPORT));
    socket.close();
    buffers.release();
  });

  t.test('a guest pings another host over IPv6', async (t) => {
    await makeRemote(t);
    const socket = openIp({ protocols: ['icmpv6', 'icmp'] });
    const guest = new TestGuest(socket, sharedMemory());
    await delay(20);
    t.equal(guest.frames.length, 0, 'neighbour discovery of the host’s is not the guest’s');
    guest.driver.send(echoFrame6('fd81::1', 'fd81::2'));
    const reply = await guest.frame((frame) => frame[12] === 0x86 && frame[54] === 129);
    t.same([...reply.subarray(0, 6)], [...GUEST_MAC]);
    t.same(Buffer.from(reply.subarray(22, 38)), Buffer.from(parseIpv6('fd81::2')));
    t.same(Buffer.from(reply.subarray(38, 54)), Buffer.from(parseIpv6('fd81::1')));
    const pseudo = [...reply.subarray(22, 54), 0, 0, ...reply.subarray(18, 20), 0, 0, 0, 58];
    const whole = Uint8Array.of(...pseudo, ...reply.subarray(54, 54 + 408));
    t.equal(internetChecksum(whole), 0, 'the checksum holds');
    await guest.close();
  });

  t.test('C10 a raw IP socket is no packet socket', async (t) => {
    const sockets = () =>
      readdirSync('/proc/self/fd').filter((fd) => {
        try {
          return readlinkSync(`/proc/self/fd/${fd}`).startsWith('socket:');
        } catch {
          return false;
        }
      });
    const before = sockets();
    const socket = openIp({ protocols: ['icmp'] });
    const [fd] = sockets().filter((candidate) => !before.includes(candidate));
    const answer = new RawProvider().open(Number(fd));
    t.ok(answer instanceof BackendRefusal && answer.error.code === 'EPFNOSUPPORT');
    socket.close();
  });

  t.test('opening says what is in the way and what to do', async (t) => {
    t.throws(() => openIp({ protocols: [] }), { code: 'EINVAL' });
    t.throws(() => openIp({ protocols: [255] }), { code: 'EINVAL' });
    t.throws(() => openIp({ protocols: ['icmp'], gateway: Uint8Array.of(1) }), { code: 'EINVAL' });
    const open = `import(${JSON.stringify(new URL('../src/index.js', import.meta.url).href)})
      .then(({ openIp }) => openIp({ protocols: ['icmp'] }))
      .catch((error) => console.log(error.code, error.message))`;
    const run = (...command: string[]) => {
      const [program = '', ...rest] = command;
      return spawnSync(program, rest, { encoding: 'utf8' }).stdout;
    };
    const node = process.execPath;
    const nobody = ['setpriv', '--reuid=nobody', '--clear-groups'];
    t.match(run(...nobody, node, '-e', open), /^EPERM .*CAP_NET_RAW/);
    const worker = `new (require('worker_threads').Worker)(${JSON.stringify(open)}, { eval: true })`;
    t.match(run(node, '-e', worker), /^EOPNOTSUPP .*main thread/);
    const without = `const { Module } = require('module'); const load = Module._load;
      Module._load = (name, ...rest) => { if (name === 'raw-socket') throw new Error('none');
        return load(name, ...rest); }; ${open}`;
    t.match(run(node, '-e', without), /^ENOSYS .*npm install raw-socket@1\.8\.1/);
  });
}
