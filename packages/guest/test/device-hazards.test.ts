/**
 * What a guest sees of a device's notifications, turns and receive path: hazards T41 to T43, T51, T52
 * and T57 against vhost-net.
 */
import {
  EventLoopTurns,
  FEATURE,
  link,
  loopback,
  NullSocket,
  type TurnScheduler,
} from '@rxvhost/core';
import t from 'tap';
import { DESCRIPTOR_NEXT, type HostileDescriptor } from '../src/index.js';
import { HostileGuest } from './support/hostile-guest.js';
import { MODERN, plugged, turn, until } from './support/nics.js';
import { RecordingSocket } from './support/recording-socket.js';

const LONGEST_TURN = 50;

for (const eventIndex of [false, true]) {
  const features = FEATURE.VERSION_1 | (eventIndex ? FEATURE.EVENT_IDX : 0n);
  const mode = eventIndex ? 'with EVENT_IDX' : 'with flags';

  t.test(`T41 no kick and no call is lost while indices wrap at 2^16, ${mode}`, async (t) => {
    // The driver kicks only when asked, and looks at the ring only when called: one lost, all stop.
    const { nic, close } = plugged(loopback(), { features, queueSize: 4 });
    const frame = new Uint8Array(60);
    let received = 0;
    nic.driver.frames$.subscribe((batch) => {
      received += batch.count;
      // Uneven bursts: the ring runs empty, and full, again and again.
      for (let burst = received % 3; burst >= 0; burst -= 1) nic.driver.send(frame);
    });
    nic.driver.send(frame);
    await until(() => received > 70_000, 15_000);
    t.ok(received > 70_000, `${received} frames`);
    await close();
  });

  t.test(`T41 what slips in while the device is about to sleep is found, ${mode}`, async (t) => {
    const guest = new HostileGuest(features);
    const { transmit, socket } = guest;
    await turn(3);
    for (const index of [0, 1, 2]) guest.chain(transmit, index, guest.goodFrame(index + 1));
    // The ring was empty when the device looked last, and it wants no kick yet: a driver that heeds
    // that adds a chain and stays silent.
    let next = 1;
    socket.beforeSleep = () => {
      if (socket.sent.length !== next || next > 2) return;
      transmit.offer(next);
      next += 1;
    };
    transmit.offer(0);
    await guest.kick(1);
    t.strictSame(
      socket.sent.map((frame) => frame[0]),
      [1, 2, 3],
      'without another kick',
    );
    await guest.close();
  });

  t.test(`T41 the first chain after a restart is always called for, ${mode}`, async (t) => {
    const guest = new HostileGuest(features);
    const { transmit, device } = guest;
    await turn(3);
    guest.chain(transmit, 0, guest.goodFrame(1));
    transmit.offer(0);
    await guest.kick(1);
    const calls = () => device.statistics().queues[1]?.calls;
    t.equal(calls(), 1, 'the first one at all');
    device.runQueue(1, 'stopped');
    t.equal(device.vringBase(1), 1);
    // As far from what comes next as can be: by comparison alone no call would be due.
    if (eventIndex) transmit.usedEvent = 0x8000;
    device.runQueue(1, 'running');
    transmit.offer(0);
    await guest.kick(1);
    t.equal(calls(), 2);
    await guest.close();
  });
}

t.test('T41 flags and event indices: each side heeds only what was negotiated', async (t) => {
  const withEvents = new HostileGuest(FEATURE.VERSION_1 | FEATURE.EVENT_IDX);
  const withFlags = new HostileGuest(FEATURE.VERSION_1);
  await turn(3);
  const calls = ({ device }: HostileGuest) => device.statistics().queues[1]?.calls ?? 0;
  for (const guest of [withEvents, withFlags]) {
    guest.chain(guest.transmit, 0, guest.goodFrame(1));
    guest.transmit.offer(0);
    await guest.kick(1);
    t.equal(calls(guest), 1);
    guest.transmit.availableFlags = 1;
    guest.transmit.usedEvent = 1;
    let flagsAtWork = -1;
    guest.socket.meanwhile = () => {
      flagsAtWork = guest.transmit.usedFlags;
    };
    guest.transmit.offer(0);
    await guest.kick(1);
    if (guest === withEvents) {
      t.equal(calls(guest), 2, 'EVENT_IDX: NO_INTERRUPT means nothing');
      t.equal(flagsAtWork, 0, 'and NO_NOTIFY is never set');
      t.equal(guest.transmit.availEvent, 2, 'the next chain is to be kicked for');
    } else {
      t.equal(calls(guest), 1, 'flags: NO_INTERRUPT is heeded');
      t.equal(flagsAtWork, 1, 'NO_NOTIFY is set while the device is at work');
      t.equal(guest.transmit.usedFlags, 0, 'and cleared when it sleeps');
    }
    await guest.close();
  }
});

/** Counts the turns that a device asks for. */
class CountingTurns implements TurnScheduler {
  count = 0;
  readonly #turns = new EventLoopTurns();

  schedule(work: () => void): void {
    this.count += 1;
    this.#turns.schedule(work);
  }
}

t.test('T42 kicks without end, for nothing, or from a port that is gone do not spin', async (t) => {
  const turns = new CountingTurns();
  const { nic, device, close } = plugged(new NullSocket(), {}, { turns });
  await turn(5);
  const quiet = turns.count;
  const transmit = nic.ring(1);
  for (let kick = 0; kick < 100_000; kick += 1) transmit.kick.signal();
  await turn(5);
  t.match(device.statistics().queues[1], { kicks: 100_000, frames: 0, errors: 0 });
  t.ok(turns.count - quiet < 10, `${turns.count - quiet} turns for 100,000 kicks`);
  nic.driver.send(new Uint8Array(60));
  await until(() => nic.driver.pendingFrames() === 0);
  const before = turns.count;
  for (const { kick } of nic.rings) kick.close();
  await turn(200);
  t.ok(turns.count - before < 5, 'a closed kick is not looked at again and again');
  t.equal(device.state, 'running');
  await close();
});

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

t.test(
  'T57 without receive buffers the backend is left alone, until the guest gives some',
  async (t) => {
    const socket = new RecordingSocket();
    const guest = new HostileGuest(FEATURE.VERSION_1, 8, socket);
    await turn(3);
    socket.feed(new Uint8Array(60).fill(1), new Uint8Array(60).fill(2));
    await turn(200);
    t.notOk(socket.listening, 'not listening');
    t.equal(socket.receives, 0, 'never asked for a frame');
    t.equal(socket.waiting.length, 2, 'nothing is thrown away');
    guest.chain(guest.receive, 0, guest.space(100));
    guest.receive.offer(0);
    await guest.kick(0);
    t.strictSame(guest.receive.usedEntry(0), { id: 0, length: 72 });
    const receives = socket.receives;
    await turn(200);
    t.notOk(socket.listening, 'out of buffers again');
    t.equal(socket.receives, receives, 'and quiet');
    guest.chain(guest.receive, 1, guest.space(100));
    guest.receive.offer(1);
    await guest.kick(0);
    t.strictSame(guest.receive.usedEntry(1), { id: 1, length: 72 });
    guest.chain(guest.receive, 2, guest.space(100));
    guest.receive.offer(2);
    await guest.kick(0);
    t.ok(socket.listening, 'with buffers to spare it listens');
    socket.feed(new Uint8Array(60).fill(3));
    await turn(4);
    t.equal(guest.receive.usedIndex, 3, 'and needs no kick');
    t.notOk(socket.listening, 'and the last buffer gone, it does not');
    const before = socket.receives;
    socket.feed(new Uint8Array(60).fill(4));
    await turn(200);
    t.equal(socket.receives, before);
    t.match(guest.device.statistics().queues[0], { frames: 3, drops: { oversized: 0 } });
    await guest.close();
  },
);
