import { spawnSync } from 'node:child_process';
import {
  BROADCAST,
  buildEthernet,
  buildIpv4,
  formatMac,
  NetFeature,
  type NetHeader,
  parseMac,
} from '@rxvhost/guest';
import { FrameBuffers, ip, testInPrivateNetwork } from '@rxvhost/sys/testing';
import { firstValueFrom, timeout } from 'rxjs';
import t from 'tap';
import { openRaw } from '../src/index.js';

import {
  addTag,
  datagram,
  GUEST_IP,
  GUEST_MAC,
  HOST_IP,
  hostOn,
  makeVeth,
  openGuest,
  PLAIN,
  plainFrame,
  sendDatagram,
  tagOf,
  typeOf,
} from './wire.js';

if (testInPrivateNetwork(t, import.meta.url)) {
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
}
