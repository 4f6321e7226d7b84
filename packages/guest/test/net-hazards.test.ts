/**
 * What a guest sees of a device's turns and of its receive path: hazards T43, T51 and T52 against
 * vhost-net.
 */
import { FEATURE, link, loopback } from '@rxvhost/core';
import t from 'tap';
import { DESCRIPTOR_NEXT, type HostileDescriptor } from '../src/index.js';
import { HostileGuest } from './support/hostile-guest.js';
import { MODERN, plugged, turn, until } from './support/nics.js';

const LONGEST_TURN = 50;

t.test('T43 a guest whose ring is never empty does not hold up other devices', async (t) => {
  const guest = new HostileGuest();
  const other = plugged(loopback());
  await turn(3);
  for (let index = 0; index < 8; index += 1) guest.chain(guest.transmit, index, guest.goodFrame(1));
  let refills = 0;
  guest.socket.meanwhile = () => {
    refills += 1;
    guest.transmit.availableIndex = guest.device.vringBase(1) + 8;
    guest.socket.sent.length = 0;
  };
  guest.transmit.offer(0, 1, 2, 3, 4, 5, 6, 7);
  await guest.kick(1);
  let longest = 0;
  for (let frame = 0; frame < 200; frame += 1) {
    other.nic.driver.send(new Uint8Array(60));
    let turns = 0;
    for (; other.received.length <= frame && turns < 100; turns += 1) {
      const start = performance.now();
      const busy = process.cpuUsage();
      await turn();
      const { user, system } = process.cpuUsage(busy);
      longest = Math.max(longest, Math.min(performance.now() - start, (user + system) / 1000));
    }
    if (turns >= 100) t.fail(`frame ${frame} was not served`);
  }
  t.equal(other.received.length, 200);
  t.ok(refills > 100, `the hostile guest was busy: ${refills} refills`);
  t.ok(longest < LONGEST_TURN, `longest turn ${longest.toFixed(1)} ms`);
  t.ok(await guest.servesTheOtherPair(), 'its own other pair is served as well');
  guest.socket.meanwhile = () => {};
  await guest.close();
  await other.close();
});

t.test('T34 T43 the largest tables of empty buffers make no long turn', async (t) => {
  const guest = new HostileGuest(MODERN & ~FEATURE.EVENT_IDX, 32);
  await turn(3);
  const entries = 65535;
  const table = guest.arena.allocate(16 * entries, 16, 1);
  // Each entry is an empty buffer with a link to the next; the last is a whole frame.
  const bytes = guest.arena.bytes(table, 16 * entries);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let index = 0; index + 1 < entries; index += 1) {
    view.setUint16(16 * index + 12, DESCRIPTOR_NEXT, true);
    view.setUint16(16 * index + 14, index + 1, true);
  }
  const frame = guest.goodFrame(9);
  view.setBigUint64(16 * (entries - 1), frame.address, true);
  view.setUint32(16 * (entries - 1) + 8, frame.length, true);
  const refer: HostileDescriptor = {
    address: BigInt(table),
    length: 16 * entries,
    flags: 4,
    next: 0,
  };
  for (let index = 0; index < 32; index += 1) {
    guest.transmit.setDescriptor(index, refer);
    guest.transmit.offer(index);
  }
  guest.kicks[1].signal();
  const turnsTaken: number[] = [];
  while (guest.socket.sent.length < 32 && turnsTaken.length < 5000) {
    const busy = process.cpuUsage();
    const start = performance.now();
    await turn();
    const { user, system } = process.cpuUsage(busy);
    turnsTaken.push(Math.min(performance.now() - start, (user + system) / 1000));
  }
  t.equal(guest.socket.sent.length, 32, 'all 32 frames, of 65535 descriptors each, are sent');
  const longest = Math.max(...turnsTaken);
  t.ok(longest < LONGEST_TURN, `longest turn ${longest.toFixed(1)} ms`);
  t.ok(await guest.servesTheOtherPair());
  await guest.close();
});

t.test('T43 a guest that sends where nobody receives is held, not stored for ever', async (t) => {
  const [left] = link({ frames: 64, bytes: 1 << 16 });
  const { nic, device, close } = plugged(left, { queueSize: 256 });
  let sent = 0;
  for (let round = 0; round < 50; round += 1) {
    while (nic.driver.send(new Uint8Array(1000))) sent += 1;
    await turn(3);
  }
  t.equal(device.statistics().queues[1]?.frames, 64, 'what the link holds');
  t.equal(sent, 64 + 256, 'and what the ring holds; the rest is refused to the guest');
  await close();
});

t.test(
  'T43 a frame larger than a link can ever hold is refused, and those behind it pass',
  async (t) => {
    const [left, right] = link({ bytes: 4096 });
    const sender = plugged(left, { maxFrameLength: 9000 });
    const receiver = plugged(right, { receiveBufferLength: 9100 });
    for (const length of [100, 9000, 4097, 4096, 200])
      sender.nic.driver.send(new Uint8Array(length));
    await until(() => receiver.received.length === 3);
    t.strictSame(
      receiver.received.map((frame) => frame.length),
      [100, 4096, 200],
    );
    t.match(sender.device.statistics().queues[1], { frames: 3, drops: { refused: 2 }, errors: 0 });
    t.equal(sender.nic.driver.pendingFrames(), 0, 'all buffers are given back');
    await sender.close();
    await receiver.close();
  },
);

t.test(
  'T51 a frame that fits no buffer is dropped, counted, and the next one arrives',
  async (t) => {
    const guest = new HostileGuest(FEATURE.VERSION_1);
    const { receive, socket, device } = guest;
    await turn(3);
    guest.chain(receive, 0, guest.space(12 + 100));
    receive.offer(0);
    await guest.kick(0);
    socket.feed(new Uint8Array(101).fill(1), new Uint8Array(100).fill(2));
    await turn(4);
    t.strictSame(receive.usedEntry(0), { id: 0, length: 112 });
    t.equal(receive.usedIndex, 1);
    t.match(device.statistics().queues[0], { frames: 1, drops: { oversized: 1 }, errors: 0 });
    await guest.close();
  },
);

t.test(
  'T51 header and data in buffers of their own, apart in memory, are filled exactly',
  async (t) => {
    const guest = new HostileGuest(FEATURE.VERSION_1);
    const { receive, socket, arena } = guest;
    await turn(3);
    // Bytes before, between and behind the buffers that nobody may touch.
    const area = arena.allocate(400);
    const bytes = arena.bytes(area, 400);
    bytes.fill(0xc7);
    const space = (at: number, length: number): HostileDescriptor => {
      return { address: BigInt(area + at), length, flags: 2, next: 0 };
    };
    guest.chain(receive, 0, space(50, 12), space(100, 40), space(200, 100));
    receive.offer(0);
    await guest.kick(0);
    socket.feed(new Uint8Array(60).fill(6));
    await turn(4);
    t.strictSame(receive.usedEntry(0), { id: 0, length: 72 }, 'header and frame, not the buffer');
    const expected = new Uint8Array(400).fill(0xc7);
    expected.set([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0], 50);
    expected.fill(6, 100, 140).fill(6, 200, 220);
    t.strictSame(bytes, expected);
    await guest.close();
  },
);

t.test('T52 the header has 12 bytes and num_buffers 1 with VERSION_1, else 10', async (t) => {
  for (const [features, length] of [
    [FEATURE.VERSION_1, 12],
    [0n, 10],
  ] as const) {
    const guest = new HostileGuest(features);
    await turn(3);
    const space = guest.space(100);
    guest.arena.bytes(Number(space.address), 100).fill(0xc7);
    guest.chain(guest.receive, 0, space);
    guest.receive.offer(0);
    await guest.kick(0);
    guest.socket.feed(new Uint8Array(60).fill(4));
    await turn(4);
    t.strictSame(guest.receive.usedEntry(0), { id: 0, length: length + 60 });
    const header = length === 12 ? [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0] : new Array(10).fill(0);
    const rest = new Array(100 - length - 60).fill(0xc7);
    t.strictSame(
      [...guest.arena.bytes(Number(space.address), 100)],
      [...header, ...new Array(60).fill(4), ...rest],
    );
    guest.chain(guest.transmit, 0, guest.buffer(length, 0), guest.buffer(33, 5));
    guest.transmit.offer(0);
    await guest.kick(1);
    t.strictSame([...(guest.socket.sent[0] ?? [])], new Array(33).fill(5), 'and on transmit');
    await guest.close();
  }
});
