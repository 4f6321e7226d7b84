import { execFile, execFileSync, spawnSync } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { closeSync, fstatSync, openSync } from 'node:fs';
import { promisify } from 'node:util';
import { BACKEND_CHAIN, BackendRefusal, coreModule, ERRNO, type VhostError } from '@rxvhost/core';
import {
  BROADCAST,
  buildEthernet,
  buildIpv4,
  formatMac,
  NetFeature,
  type NetHeader,
  NumberedFrameChecker,
  NumberedFrames,
  parseIp,
  parseMac,
  TinyHost,
} from '@rxvhost/guest';
import {
  addPromiscuousMembership,
  bindPacketSocket,
  closeFd,
  interfaceIndex,
  openPacketSocket,
  setPacketVnetHeader,
  socketPair,
} from '@rxvhost/sys';
import { FrameBuffers, ip } from '@rxvhost/sys/testing';
import { Container } from 'inversify';
import { firstValueFrom, timeout } from 'rxjs';
import t, { type Test } from 'tap';
import { adoptRaw, openRaw, type RawOptions, RawProvider, rawModule } from '../src/index.js';
import { TestGuest } from './guest.js';
import { insideNamespace } from './namespace.js';

const CLOSED_FD = 999;
const GUEST_MAC = parseMac('52:54:00:00:00:01');
const GUEST_IP = parseIp('10.78.0.2');
const HOST_IP = parseIp('10.78.0.1');
const PLAIN = 0x88b5;
const TAGGED = 0x8100;

let pairs = 0;

/** A cable: the socket of a guest takes one end, the host's network stack has the other. */
function makeVeth(t: Test, mtu = 1500): { guestEnd: string; hostEnd: string } {
  pairs += 1;
  const ends = { guestEnd: `guest${pairs}`, hostEnd: `host${pairs}` };
  ip(`link add ${ends.guestEnd} mtu ${mtu} type veth peer name ${ends.hostEnd} mtu ${mtu}`);
  for (const end of [ends.guestEnd, ends.hostEnd]) ip(`link set ${end} up`);
  for (const end of [ends.guestEnd, ends.hostEnd]) waitUntilUp(end);
  t.teardown(() => spawnSync('ip', ['link', 'delete', ends.guestEnd]));
  return ends;
}

/** The kernel drops what is sent before it has heard, some time later, that the other end is up. */
function waitUntilUp(ifname: string): void {
  const deadline = performance.now() + 5000;
  while (!/qdisc (?!noop ).* state UP/.test(ip(`link show dev ${ifname}`))) {
    if (performance.now() > deadline) throw new Error(`${ifname} does not come up`);
  }
}

function openGuest(t: Test, options: RawOptions, features?: bigint): TestGuest {
  const guest = new TestGuest(openRaw(options), features);
  t.teardown(() => guest.close());
  return guest;
}

/** An IP host on a guest's NIC, behind a VLAN tag where one is given. */
function hostOn(guest: TestGuest, mac = GUEST_MAC, address = GUEST_IP, tag?: number): TinyHost {
  const host = new TinyHost(mac, address, (frame) => {
    guest.driver.send(tag === undefined ? frame : addTag(frame, tag));
  });
  guest.driver.frames$.subscribe((batch) => {
    for (const frame of batch) {
      if (tag === undefined) host.receive(frame);
      else if (tagOf(frame) === tag) host.receive(removeTag(frame));
    }
  });
  return host;
}

const typeOf = (frame: Uint8Array) => ((frame[12] as number) << 8) | (frame[13] as number);
const tagOf = (frame: Uint8Array) =>
  typeOf(frame) === TAGGED ? ((frame[14] as number) << 8) | (frame[15] as number) : undefined;
const addTag = (frame: Uint8Array, tag: number) =>
  Buffer.concat([
    frame.subarray(0, 12),
    Uint8Array.from([TAGGED >> 8, TAGGED & 0xff, tag >> 8, tag & 0xff]),
    frame.subarray(12),
  ]);
const removeTag = (frame: Uint8Array) => Buffer.concat([frame.subarray(0, 12), frame.subarray(16)]);

/** Lets frames leave an interface only at `rate`. */
function slowDown(ifname: string, rate: string): void {
  const shape = `qdisc add dev ${ifname} root tbf rate ${rate} burst 16k limit 10m`;
  execFileSync('tc', shape.split(' '));
}

const plainFrame = (length: number) =>
  buildEthernet(BROADCAST, GUEST_MAC, PLAIN, new Uint8Array(length - 14).fill(length));

/** A frame with a UDP datagram to port 9 in it. */
function datagram(): Uint8Array {
  const udp = Buffer.alloc(8 + 100, 3);
  udp.writeUInt16BE(9, 2);
  udp.writeUInt16BE(udp.length, 4);
  const packet = buildIpv4({ source: HOST_IP, destination: GUEST_IP, protocol: 17, payload: udp });
  return buildEthernet(GUEST_MAC, BROADCAST, 0x0800, packet);
}

/** Sends a datagram out of the host's end, its UDP checksum left to the interface. */
async function sendDatagram(bytes: number): Promise<void> {
  const socket = createSocket('udp4');
  await new Promise<void>((resolve) => {
    socket.send(new Uint8Array(bytes), 9, GUEST_IP.join('.'), () => resolve());
  });
  socket.close();
}

if (insideNamespace(import.meta.url)) {
  t.test('a guest on one end of a veth and the host on the other ping each other', async (t) => {
    for (const vnetHeader of [true, false]) {
      const { guestEnd, hostEnd } = makeVeth(t);
      ip(`address add 10.78.0.1/24 dev ${hostEnd}`);
      const guest = openGuest(t, { ifname: guestEnd, vnetHeader });
      const host = hostOn(guest);
      for (const length of [0, 56, 1472]) await host.ping(HOST_IP, length);
      const ping = ['-c', '3', '-i', '0.01', '-W', '2', '10.78.0.2'];
      const { stdout } = await promisify(execFile)('ping', ping);
      t.match(stdout, / 3 received/, `both ways, vnet header ${vnetHeader}`);
      ip(`link delete ${guestEnd}`);
    }
  });

  t.test(
    'C4 two guests exchange frames in order, none lost, with a small send buffer',
    async (t) => {
      const { guestEnd, hostEnd } = makeVeth(t);
      slowDown(guestEnd, '200mbit');
      const one = openGuest(t, { ifname: guestEnd, sendBuffer: 8192 });
      const other = openGuest(t, { ifname: hostEnd });
      const frames = new NumberedFrames(BROADCAST, GUEST_MAC);
      const checker = new NumberedFrameChecker();
      const count = 3000;
      const arrived = new Promise<void>((resolve) => {
        other.driver.frames$.subscribe((batch) => {
          for (const frame of batch) checker.receive(frame);
          if (checker.intact === count) resolve();
        });
      });
      for (let sent = 0; sent < count; sent += 1) {
        const frame = frames.make(60 + (sent % 1400));
        while (!one.driver.send(frame)) await firstValueFrom(one.driver.writable$);
      }
      await arrived;
      t.ok(checker.flawless);
      t.equal(checker.intact, count);
      const [, transmit] = one.device.statistics().queues;
      t.equal(transmit?.frames, count);
      t.equal(transmit?.drops.refused, 0);
      t.ok((transmit?.backPressure ?? 0) > 10, 'the queue waited for the socket');
    },
  );

  t.test('T56 a VLAN tag arrives in its frame, and full-sized frames keep theirs', async (t) => {
    for (const vnetHeader of [true, false]) {
      const { guestEnd, hostEnd } = makeVeth(t);
      const guest = openGuest(t, { ifname: guestEnd, vnetHeader });
      const other = openGuest(t, { ifname: hostEnd, vnetHeader });
      const host = hostOn(guest, GUEST_MAC, GUEST_IP, 7);
      hostOn(other, parseMac('52:54:00:00:00:09'), HOST_IP, 7);
      for (const length of [0, 56, 1472]) await host.ping(HOST_IP, length);
      t.ok(guest.frames.every((frame) => tagOf(frame) === 7));
      t.ok(
        guest.frames.some(({ length }) => length === 1518),
        'a frame of 1518 bytes',
      );

      const service = buildEthernet(
        GUEST_MAC,
        GUEST_MAC,
        0x88a8,
        Uint8Array.of(0x60, 9, 0x88, 0xb5),
      );
      other.driver.send(service);
      const received = await guest.frame((frame) => typeOf(frame) === 0x88a8);
      t.same(received, service, 'a service tag keeps its type and its priority');
    }
  });

  t.test('T56 an unfinished checksum is where the header says, tagged or not', async (t) => {
    const { guestEnd, hostEnd } = makeVeth(t);
    const receiver = openRaw({ ifname: guestEnd });
    const sender = openRaw({ ifname: hostEnd });
    const buffers = new FrameBuffers();
    for (const headerLength of [12, 10] as const) {
      receiver.setHeaderLength?.(headerLength);
      sender.setHeaderLength?.(headerLength);
      for (const tagged of [false, true]) {
        const start = tagged ? 38 : 34;
        const frame = Buffer.from(tagged ? addTag(datagram(), 8) : datagram());
        const header = new Uint8Array(headerLength);
        header.set([1, 0, 0, 0, 0, 0, start, 0, 6, 0]);
        const sent = Buffer.concat([header, frame]);
        for (const segment of [2048, 11, 7, 1]) {
          t.equal(sender.send(buffers.transmit([sent], segment), 0), 1);
          t.equal(buffers.batch.results[0], sent.length, 'the whole of it was sent');
          await firstValueFrom(receiver.readable$.pipe(timeout(3000)));
          t.equal(receiver.receive(buffers.receive(1, { segment, length: 300 })), 1);
          const received = buffers.received(0);
          const what = `${tagged ? 'tagged' : 'untagged'}, header ${headerLength}, segments of ${segment}`;
          t.same([...received.subarray(0, 10)], [...header.subarray(0, 10)], `header: ${what}`);
          t.same(Buffer.from(received.subarray(headerLength)), frame, `frame: ${what}`);
        }
      }
    }
    receiver.close();
    sender.close();
    buffers.release();
  });

  t.test('T55 what the host leaves unfinished comes with a header that says so', async (t) => {
    const { guestEnd, hostEnd } = makeVeth(t);
    ip(`address add 10.78.0.1/24 dev ${hostEnd}`);
    ip(`neighbour add 10.78.0.2 lladdr ${formatMac(GUEST_MAC)} dev ${hostEnd}`);
    const headerFor = async (features: bigint): Promise<NetHeader> => {
      const guest = openGuest(t, { ifname: guestEnd }, features);
      const header = new Promise<NetHeader>((resolve) => {
        guest.driver.frames$.subscribe((batch) => resolve(batch.header(0)));
      });
      await sendDatagram(100);
      return await header;
    };
    const { VERSION_1, GUEST_CSUM } = NetFeature;
    const accepted = await headerFor(VERSION_1 | GUEST_CSUM);
    t.match(accepted, { flags: 1, checksumStart: 34, checksumOffset: 6, bufferCount: 1 });
    const finished = await headerFor(VERSION_1);
    t.match(finished, { flags: 0, checksumStart: 0, checksumOffset: 0, bufferCount: 1 });
  });

  t.test('T55 a large segment reaches a guest without offloads in pieces', async (t) => {
    const { guestEnd, hostEnd } = makeVeth(t);
    const guest = openGuest(t, { ifname: guestEnd });
    const sender = openRaw({ ifname: hostEnd });
    const buffers = new FrameBuffers(8192);
    const tcp = Buffer.alloc(20 + 5000);
    tcp.set([0, 9, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x10]);
    for (let at = 0; at < 5000; at += 1) tcp[20 + at] = at;
    const packet = buildIpv4({ source: HOST_IP, destination: GUEST_IP, protocol: 6, payload: tcp });
    const frame = buildEthernet(GUEST_MAC, BROADCAST, 0x0800, packet);
    const header = [1, 1, 54, 0, 1000 & 0xff, 1000 >> 8, 34, 0, 16, 0, 0, 0];
    sender.send(buffers.transmit([Buffer.concat([Uint8Array.from(header), frame])], 8192), 0);
    t.equal(buffers.batch.results[0], 12 + frame.length);
    await guest.frame((candidate) => candidate[41] === 4000 % 256);
    t.same(
      guest.frames.map(({ length }) => length),
      Array(5).fill(54 + 1000),
    );
    const payload = Buffer.concat(guest.frames.map((segment) => segment.subarray(54)));
    t.ok(payload.equals(tcp.subarray(20)), 'every byte once and in order');
    t.equal(guest.device.statistics().queues[0]?.drops.oversized, 0);
    sender.close();
    buffers.release();
  });

  t.test('T56 what the host sends through the same interface is not received', async (t) => {
    const { guestEnd, hostEnd } = makeVeth(t);
    ip(`address add 10.78.0.1/24 dev ${guestEnd}`);
    const guest = openGuest(t, { ifname: guestEnd });
    const witness = openGuest(t, { ifname: hostEnd });
    spawnSync('ping', ['-c', '1', '-W', '0.01', '10.78.0.9']);
    await witness.frame((frame) => typeOf(frame) === 0x0806);
    guest.driver.send(buildEthernet(BROADCAST, GUEST_MAC, PLAIN, Uint8Array.of(1)));
    await witness.frame((frame) => typeOf(frame) === PLAIN);
    witness.driver.send(buildEthernet(GUEST_MAC, BROADCAST, PLAIN, Uint8Array.of(2)));
    await guest.frame((frame) => typeOf(frame) === PLAIN);
    t.equal(guest.frames.length, 1, 'neither the host’s frame nor its own');
  });

  t.test('T56 T51 a frame that fits no buffer is dropped whole and counted', async (t) => {
    const { guestEnd, hostEnd } = makeVeth(t, 9000);
    const guest = openGuest(t, { ifname: guestEnd });
    const sender = openRaw({ ifname: hostEnd, vnetHeader: false });
    const buffers = new FrameBuffers(8192);
    const frames = [100, 4000, 200].map((length) => plainFrame(length));
    t.equal(sender.send(buffers.transmit(frames), 0), 3);
    await guest.frame(({ length }) => length === 200);
    t.same(
      guest.frames.map(({ length }) => length),
      [100, 200],
    );
    t.equal(guest.device.statistics().queues[0]?.drops.oversized, 1);
    sender.close();
    buffers.release();
  });

  t.test('T56 a tag for which there is no room makes its frame too large', async (t) => {
    const { guestEnd, hostEnd } = makeVeth(t);
    const receiver = openRaw({ ifname: guestEnd });
    const sender = openRaw({ ifname: hostEnd, vnetHeader: false });
    const buffers = new FrameBuffers();
    const frames = [205, 204, 203, 201, 200, 60].map((length) => addTag(plainFrame(length - 4), 6));
    t.equal(sender.send(buffers.transmit(frames), 0), frames.length);
    await firstValueFrom(receiver.readable$.pipe(timeout(3000)));
    const batch = buffers.receive(8, { length: 12 + 200, segment: 50 });
    t.equal(receiver.receive(batch), 2);
    t.equal(batch.oversized, 4);
    for (const [index, frame] of [frames[4], frames[5]].entries()) {
      const received = Buffer.from(buffers.received(index).subarray(12));
      t.same(received, frame, 'it moved into the free buffer, tag and all');
    }
    receiver.close();
    sender.close();
    buffers.release();
  });

  t.test('C15 the length is looked at, VLAN tag included, before buffers are filled', async (t) => {
    const { guestEnd, hostEnd } = makeVeth(t);
    const receiver = openRaw({ ifname: guestEnd });
    const sender = openRaw({ ifname: hostEnd, vnetHeader: false });
    const buffers = new FrameBuffers();
    const frames = [1000, 801 - 12, 800 - 12].map((length) => addTag(plainFrame(length - 4), 5));
    t.equal(sender.send(buffers.transmit(frames), 0), 3);
    await firstValueFrom(receiver.readable$.pipe(timeout(3000)));
    buffers.batch.chainsPerFrame = 16;
    const first = buffers.receive(10, { length: 200 });
    t.equal(
      receiver.receive(first),
      6,
      'the next one needs five buffers with its tag, four are left',
    );
    t.same([...first.frameLengths.subarray(0, first.frameCount)], [1012]);
    t.ok(first.wantsMore, 'it waits for more buffers');
    const second = buffers.receive(9, { length: 200 });
    t.equal(receiver.receive(second), 9);
    t.same([...second.frameLengths.subarray(0, second.frameCount)], [801, 800]);
    t.same([...second.frameChains.subarray(0, second.frameCount)], [5, 4]);
    t.equal(first.oversized + second.oversized, 0);
    const empty = buffers.receive(9, { length: 200 });
    t.equal(receiver.receive(empty), 0, 'what somebody else took leaves the buffers');
    t.equal(empty.frameCount, 0);
    t.notOk(empty.wantsMore);
    t.equal(sender.send(buffers.transmit(frames.slice(0, 1)), 0), 1);
    await firstValueFrom(receiver.readable$.pipe(timeout(3000)));
    t.equal(receiver.receive(buffers.receive(3, { length: 200 })), 0);
    t.ok(buffers.batch.wantsMore, 'a first frame waits for more buffers too');
    t.equal(buffers.batch.oversized, 0);
    receiver.close();
    sender.close();
    buffers.release();
  });

  t.test('with an address only frames for it and for groups are received', async (t) => {
    const { guestEnd, hostEnd } = makeVeth(t);
    const address = parseMac('52:54:00:00:80:01');
    const guest = openGuest(t, { ifname: guestEnd, address });
    const sender = openGuest(t, { ifname: hostEnd });
    const destinations = [
      '52:54:00:00:80:02',
      '52:54:00:01:80:01',
      '52:54:00:00:80:01',
      '01:00:5e:00:00:01',
      'ff:ff:ff:ff:ff:ff',
    ];
    for (const [index, destination] of destinations.entries()) {
      const payload = Uint8Array.of(index);
      sender.driver.send(buildEthernet(parseMac(destination), GUEST_MAC, PLAIN, payload));
    }
    await guest.frame((frame) => frame[14] === 4);
    t.same(
      guest.frames.map((frame) => frame[14]),
      [2, 3, 4],
    );
  });

  t.test('without an address the interface is promiscuous while the socket is open', async (t) => {
    const { guestEnd } = makeVeth(t);
    const socket = openRaw({ ifname: guestEnd, qdiscBypass: true });
    t.match(ip(`-details link show ${guestEnd}`), /promiscuity 1/);
    socket.close();
    socket.close();
    t.match(ip(`-details link show ${guestEnd}`), /promiscuity 0/);
  });

  t.test('T17 an interface that goes down and up again goes on working', async (t) => {
    const { guestEnd, hostEnd } = makeVeth(t);
    ip(`address add 10.78.0.1/24 dev ${hostEnd}`);
    const guest = openGuest(t, { ifname: guestEnd });
    const faults: VhostError[] = [];
    guest.device.errors$.subscribe(({ error }) => faults.push(error));
    const host = hostOn(guest);
    await host.ping(HOST_IP);
    ip(`link set ${guestEnd} down`);
    guest.driver.send(buildEthernet(BROADCAST, GUEST_MAC, PLAIN, Uint8Array.of(1)));
    while (guest.driver.pendingFrames() > 0) await new Promise((resolve) => setTimeout(resolve, 5));
    t.equal(guest.device.statistics().queues[1]?.drops.refused, 1);
    ip(`link set ${guestEnd} up`);
    for (const end of [guestEnd, hostEnd]) waitUntilUp(end);
    await host.ping(HOST_IP);
    t.same(faults, []);
  });

  t.test('T17 an interface that is deleted fails the observables and drops frames', async (t) => {
    for (const downFirst of [false, true]) {
      const { guestEnd } = makeVeth(t);
      const socket = openRaw({ ifname: guestEnd });
      const buffers = new FrameBuffers();
      const failed = new Promise<VhostError>((resolve) => {
        const next = () => socket.receive(buffers.receive(1));
        socket.readable$.subscribe({ next, error: resolve });
      });
      if (downFirst) {
        ip(`link set ${guestEnd} down`);
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
      ip(`link delete ${guestEnd}`);
      // What waits for a deleted interface does not keep the process: the test has to.
      const keepAlive = setInterval(() => {}, 1000);
      const error = await failed;
      clearInterval(keepAlive);
      t.equal(error.code, 'ENODEV');
      t.match(error.message, new RegExp(`${guestEnd} is gone`));
      const frame = new Uint8Array(72);
      const batch = buffers.transmit([frame, frame]);
      t.equal(socket.send(batch, 0), 2);
      t.same([...batch.results.subarray(0, 2)], [-ERRNO.ENXIO, -ERRNO.ENXIO]);
      await t.rejects(firstValueFrom(socket.writable$), { code: 'ENODEV' });
      socket.close();
      buffers.release();
    }
  });

  t.test('frames that nobody receives in time are counted', async (t) => {
    const { guestEnd, hostEnd } = makeVeth(t);
    const socket = openRaw({ ifname: guestEnd, receiveBuffer: 4096 });
    const sender = openRaw({ ifname: hostEnd });
    const buffers = new FrameBuffers();
    const frame = new Uint8Array(12 + 1000);
    t.equal(sender.send(buffers.transmit(Array<Uint8Array>(100).fill(frame)), 0), 100);
    t.ok(socket.kernelDrops > 50);
    const drops = socket.kernelDrops;
    socket.close();
    t.equal(socket.kernelDrops, drops);
    sender.close();
    buffers.release();
  });

  t.test('C4 it tells how full its send buffer is', async (t) => {
    const { guestEnd } = makeVeth(t);
    const socket = openRaw({ ifname: guestEnd, sendBuffer: 100_000 });
    t.equal(socket.sendBufferFill(), 0);
    slowDown(guestEnd, '8kbit');
    const buffers = new FrameBuffers();
    const frame = new Uint8Array(12 + 1500);
    const sent = socket.send(buffers.transmit(Array<Uint8Array>(200).fill(frame)), 0);
    t.ok(sent > 20 && sent < 200, `${sent} frames fit`);
    t.ok(socket.sendBufferFill() >= 0.9);
    socket.close();
    buffers.release();
  });

  t.test('opening says what is in the way and what to do', async (t) => {
    t.throws(() => openRaw({ ifname: 'a/b' }), { code: 'EINVAL', message: /not allowed/ });
    t.throws(() => openRaw({ ifname: 'none0' }), { code: 'ENODEV', message: /no interface none0/ });
    t.throws(() => openRaw({ ifname: 'lo', address: new Uint8Array(5) }), { code: 'EINVAL' });
    const index = new URL('../src/index.js', import.meta.url).href;
    const script = `import { openRaw } from ${JSON.stringify(index)};
      try { openRaw({ ifname: 'lo' }); } catch (error) { console.log(error.code, error.message); }`;
    const command = ['--reuid=nobody', '--clear-groups', process.execPath, '--input-type=module'];
    const { stdout } = spawnSync('setpriv', [...command, '-e', script], { encoding: 'utf8' });
    t.match(stdout, /^EPERM .*CAP_NET_RAW/);
  });

  t.test('C10 the provider takes packet sockets and says why it refuses others', async (t) => {
    const { guestEnd } = makeVeth(t);
    const provider = new RawProvider();
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
    for (const type of ['stream', 'datagram'] as const) {
      const [one, other] = socketPair(type);
      t.equal(refusal(one), 'ESOCKTNOSUPPORT', `a Unix ${type} socket`);
      closeFd(one);
      closeFd(other);
    }
    const unbound = openPacketSocket();
    t.equal(refusal(unbound), 'EINVAL', 'bound to no interface');
    bindPacketSocket(unbound, interfaceIndex(guestEnd));
    t.equal(refusal(unbound), 'taken');
    t.ok(fstatSync(unbound), 'the fd stays its caller’s');
    closeFd(unbound);
  });

  t.test('C10 an adopted socket is asked how its frames are laid out', async (t) => {
    for (const vnetHeader of [true, false]) {
      const { guestEnd, hostEnd } = makeVeth(t);
      ip(`address add 10.78.0.1/24 dev ${hostEnd}`);
      const index = interfaceIndex(guestEnd);
      const fd = openPacketSocket();
      addPromiscuousMembership(fd, index);
      setPacketVnetHeader(fd, vnetHeader);
      bindPacketSocket(fd, index);
      const socket = adoptRaw(fd);
      t.equal(socket.ifname, guestEnd);
      t.equal(socket.headerLength, vnetHeader ? 12 : 0);
      const guest = new TestGuest(socket, 0n);
      t.equal(socket.headerLength, vnetHeader ? 10 : 0, 'as the guest’s features say');
      await hostOn(guest).ping(HOST_IP, 500);
      await guest.close();
      t.throws(() => fstatSync(fd), { code: 'EBADF' });
      ip(`link delete ${guestEnd}`);
    }
  });

  t.test('C10 the module puts the provider into the chain', async (t) => {
    const container = new Container();
    container.load(coreModule, rawModule);
    const chain = container.get(BACKEND_CHAIN);
    t.same(
      chain.providers.map(({ name }) => name),
      ['raw'],
    );
    t.throws(() => chain.open(CLOSED_FD), { code: 'ENOTSOCK' });
  });
}
