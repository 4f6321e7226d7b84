import fc from 'fast-check';
import t from 'tap';
import { FEATURE, type NetStatistics, VhostNet } from '../src/index.js';
import { FakeSocket, frame, makeNic } from './support/nic.js';

t.test('C1 queue 0 receives and queue 1 transmits', async (t) => {
  const { setUp, run, turns, socket, receive, offerFrames, offerBuffers } = makeNic();
  setUp();
  run();
  offerFrames([frame(1)]);
  socket.toReceive.push(frame(2));
  offerBuffers(1, 200);
  turns.settle();
  t.same(socket.sent, [frame(1)]);
  t.same(receive.used(0), { id: 0, length: 70 });
  t.same(receive.data(10, 60), frame(2));
});

t.test('C2 the device strips and supplies the header for a backend without one', async (t) => {
  for (const [features, header] of [
    [0n, 10],
    [FEATURE.VERSION_1, 12],
  ] as const) {
    const { setUp, run, turns, socket, receive, offerFrames, offerBuffers } = makeNic();
    setUp(features);
    run();
    offerFrames([frame(1)], header);
    socket.toReceive.push(frame(2));
    receive.data(0, 200).fill(0xff);
    offerBuffers(1, 200);
    turns.settle();
    t.same(socket.sent, [frame(1)]);
    t.equal(receive.used(0).length, header + 60);
    t.same([...receive.data(0, 10)], Array(10).fill(0), 'no flags, no segmentation');
    if (header === 12) t.same([...receive.data(10, 2)], [1, 0], 'T52 num_buffers is 1');
    t.same(receive.data(header, 60), frame(2));
  }
});

t.test(
  'C2 T52 with a backend that has the header it passes through, and num_buffers is 1',
  async (t) => {
    for (const [features, header] of [
      [0n, 10],
      [FEATURE.VERSION_1, 12],
    ] as const) {
      const { setUp, run, turns, socket, receive, offerFrames, offerBuffers } = makeNic();
      socket.headerLength = 10;
      setUp(features);
      run();
      t.equal(socket.headerLength, header, 'the backend is told how long it is');
      offerFrames([frame(1)], header);
      const received = new Uint8Array(header + 60).fill(3);
      socket.toReceive.push(received);
      offerBuffers(1, 200);
      turns.settle();
      t.same(socket.sent, [Buffer.concat([new Uint8Array(header).fill(0xee), frame(1)])]);
      if (header === 12) received.set([1, 0], 10);
      t.same(receive.data(0, header + 60), received);
      t.equal(receive.used(0).length, header + 60);
    }
  },
);

t.test('C2 the header is found however the guest splits it over descriptors', async (t) => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 0, max: 9 }), { maxLength: 6 }),
      fc.constantFrom(10 as const, 12 as const),
      (cuts, header) => {
        const nic = makeNic();
        nic.setUp(header === 12 ? FEATURE.VERSION_1 : 0n);
        nic.run();
        const whole = Buffer.concat([Buffer.alloc(header, 0xee), Buffer.alloc(60, 5)]);
        const lengths = [...cuts, whole.length - cuts.reduce((a, b) => a + b, 0)];
        let at = 0;
        lengths.forEach((length, index) => {
          const flags = index < lengths.length - 1 ? 1 : 0;
          const next = index + 1;
          const place = 0x100 * index;
          nic.transmit.data(place, length).set(whole.subarray(at, at + length));
          nic.transmit.descriptor(index, {
            at: BigInt(nic.transmit.address(place)) + 0x100_0000n,
            length,
            flags,
            next,
            absolute: true,
          });
          nic.receive.data(place, length).fill(0xff);
          nic.receive.descriptor(index, { at: place, length, flags: flags | 2, next });
          at += length;
        });
        nic.transmit.offer(0);
        nic.receive.offer(0);
        nic.socket.toReceive.push(frame(6));
        nic.port(0).kick.signal();
        nic.port(1).kick.signal();
        nic.turns.settle();
        const got = Buffer.concat(
          lengths.map((length, index) => nic.receive.data(0x100 * index, length)),
        );
        const expected = Buffer.concat([Buffer.alloc(header), Buffer.alloc(60, 6)]);
        if (header === 12) expected[10] = 1;
        return (
          nic.socket.sent.length === 1 &&
          Buffer.from(nic.socket.sent[0] ?? []).equals(Buffer.alloc(60, 5)) &&
          nic.receive.used(0).length === header + 60 &&
          got.equals(expected)
        );
      },
    ),
  );
  t.pass('every split');
});

t.test(
  'C3 B9 a malformed transmit chain stops the queue with an error until the next kick',
  async (t) => {
    const { nic, setUp, run, turns, socket, faults, transmit, port, offerFrames } = makeNic();
    setUp();
    run();
    transmit.descriptor(0, { at: 0n, absolute: true, length: 60, flags: 2 });
    transmit.offer(0);
    offerFrames([frame(1)]);
    turns.settle();
    t.match(faults, [{ queue: 1, error: { code: 'EFAULT' } }], 'a buffer outside memory');
    t.equal(port(1).error.pending, 1, 'the error port is signalled');
    t.same(socket.sent, []);
    const base = nic.vringBase(1);
    t.equal(base, 0, 'a head that could not be read is not consumed');
    transmit.descriptor(0, {
      at: BigInt(transmit.address(0)) + 0x100_0000n,
      length: 60,
      flags: 2,
      absolute: true,
    });
    port(1).kick.signal();
    turns.settle();
    t.match(faults[1], { queue: 1, error: { code: 'EINVAL' } }, 'a writable segment');
    t.equal(nic.vringBase(1), 1, 'that chain is consumed');
    t.equal(transmit.usedIndex, 0, 'without a used entry');
    turns.settle();
    t.same(socket.sent, [], 'nothing goes on by itself');
    port(1).kick.signal();
    turns.settle();
    t.same(socket.sent, [frame(1)]);
    t.equal(nic.statistics().queues[1]?.errors, 2);
  },
);

t.test('C4 a backend that is full loses, doubles and reorders nothing', async (t) => {
  fc.assert(
    fc.property(
      fc.array(fc.record({ offer: fc.nat(4), room: fc.nat(5) }), { maxLength: 40 }),
      (steps) => {
        const { setUp, run, turns, socket, transmit, offerFrames } = makeNic();
        setUp();
        run();
        socket.room = 0;
        let offered = 0;
        for (const { offer, room } of steps) {
          const free = 8 - ((transmit.availableIndex - transmit.usedIndex) & 0xffff);
          const frames = Array.from({ length: Math.min(offer, free) }, () =>
            frame(offered++ & 0xff),
          );
          offerFrames(frames);
          turns.settle();
          socket.room = room;
          if (room > 0) socket.writable.next();
          turns.settle();
          if (socket.sent.length !== transmit.usedIndex) return false;
        }
        socket.room = Number.POSITIVE_INFINITY;
        socket.writable.next();
        turns.settle();
        return (
          socket.sent.length === offered &&
          socket.sent.every((bytes, index) => bytes[0] === (index & 0xff))
        );
      },
    ),
  );
  t.pass('any interleaving');
});

t.test(
  'C4 a socket that tells its fill is waited for at full and at 3/4, and no more below 1/2',
  async (t) => {
    const { setUp, run, turns, socket, offerFrames, transmit } = makeNic();
    let fill = 0;
    socket.sendBufferFill = () => fill;
    setUp();
    run();
    t.notOk(socket.writable.observed);
    fill = 1;
    offerFrames([frame(1)]);
    turns.settle();
    t.same(socket.sent, [], 'full: nothing is taken');
    t.ok(socket.writable.observed);
    fill = 0.6;
    socket.writable.next();
    turns.settle();
    t.equal(socket.sent.length, 1);
    t.ok(socket.writable.observed, 'between 1/2 and full it goes on waiting');
    fill = 0.4;
    socket.writable.next();
    turns.settle();
    t.notOk(socket.writable.observed, 'below 1/2 it stops');
    fill = 0.75;
    offerFrames([frame(2)]);
    turns.settle();
    t.equal(socket.sent.length, 2);
    t.ok(socket.writable.observed, 'at 3/4 it waits before it sleeps');
    t.equal(transmit.usedFlags, 1, 'and asks for no kick meanwhile');
    fill = 0.1;
    socket.writable.next();
    turns.settle();
    t.equal(transmit.usedFlags, 0);
  },
);

t.test('C5 a short write and a refused frame are counted, the queue goes on', async (t) => {
  const { nic, setUp, run, turns, socket, transmit, offerFrames } = makeNic();
  setUp();
  run();
  socket.outcomes.set(2, 30);
  socket.outcomes.set(3, -22);
  offerFrames([frame(1), frame(2), frame(3), frame(4)]);
  turns.settle();
  t.equal(transmit.usedIndex, 4);
  t.match(nic.statistics().queues[1], {
    frames: 3,
    shortWrites: 1,
    drops: { refused: 1 },
    bytes: 180,
  });
});

t.test('C6 T57 without buffers the socket is left alone until the guest kicks', async (t) => {
  const { nic, setUp, run, turns, socket, receive, offerBuffers } = makeNic();
  setUp();
  run();
  t.notOk(socket.readable.observed, 'no buffers: the poll is off, a readable socket cannot spin');
  t.equal(receive.usedFlags, 0, 'and kicks are asked for');
  socket.toReceive.push(frame(1), frame(2), frame(3));
  t.equal(turns.count, 0);
  offerBuffers(2, 200);
  turns.settle();
  t.equal(receive.usedIndex, 2);
  t.notOk(socket.readable.observed);
  offerBuffers(3, 200);
  turns.settle();
  t.equal(receive.usedIndex, 3);
  t.ok(socket.readable.observed, 'buffers but no frames: the poll is on');
  t.equal(receive.usedFlags, 1, 'and kicks are not needed');
  socket.toReceive.push(frame(4));
  socket.readable.next();
  turns.settle();
  t.equal(receive.usedIndex, 4);
  t.ok((nic.statistics().queues[0]?.starved ?? 0) >= 2);
});

t.test(
  'C6 T51 a frame that fits no buffer is dropped and counted, the next one arrives',
  async (t) => {
    const { nic, setUp, run, turns, socket, receive, offerBuffers } = makeNic();
    setUp();
    run();
    socket.toReceive.push(frame(1, 300), frame(2, 60), frame(3, 191), frame(4, 190));
    offerBuffers(4, 200);
    turns.settle();
    t.equal(receive.usedIndex, 2);
    t.same(receive.used(0), { id: 0, length: 70 });
    t.same(receive.used(1), { id: 1, length: 200 });
    t.match(nic.statistics().queues[0], { frames: 2, drops: { oversized: 2 } });
  },
);

t.test('C8 T43 a turn ends after 256 packets or 0x80000 bytes and is queued again', async (t) => {
  const { setUp, run, turns, socket, offerFrames } = makeNic({}, 1024);
  setUp();
  run();
  // The buffers overlap: what they hold does not matter here.
  const small = Array.from({ length: 15 }, () => frame(1));
  for (let n = 0; n < 50; n += 1) offerFrames(small, 10, n === 49);
  let most = 0;
  while (turns.count > 0) {
    const before = socket.calls;
    turns.turn();
    most = Math.max(most, socket.calls - before);
  }
  t.equal(socket.sent.length, 750);
  t.ok(socket.calls >= 3, 'in at least three pieces of work');
});

t.test('C9 setBackend attaches, detaches, and the same socket again changes nothing', async (t) => {
  const { nic, setUp, turns, offerFrames, offerBuffers, receive, transmit } = makeNic();
  const settle = async (wait: Promise<void>) => {
    turns.settle();
    await wait;
  };
  setUp();
  const [a, b] = [new FakeSocket(), new FakeSocket()];
  await settle(nic.setBackend(1, a));
  offerFrames([frame(1)]);
  turns.settle();
  transmit.usedFlags = 5;
  await settle(nic.setBackend(1, a));
  t.equal(transmit.usedFlags, 5, 'not attached anew');
  await settle(nic.setBackend(1, b));
  t.equal(transmit.usedFlags, 0);
  offerFrames([frame(2)]);
  turns.settle();
  await settle(nic.setBackend(1, -1));
  offerFrames([frame(3)]);
  turns.settle();
  t.same([a.sent, b.sent], [[frame(1)], [frame(2)]]);
  t.same([a.closed, b.closed], [0, 0], 'a socket given as such stays its owner’s');
  await settle(nic.setBackend(0, b));
  b.toReceive.push(frame(7));
  offerBuffers(1, 100);
  turns.settle();
  t.equal(receive.usedIndex, 1);
  await settle(nic.setBackend(0, undefined));
  t.notOk(b.readable.observed, 'a detached socket is not polled');
});

t.test('C9 a failed attach leaves the old backend at work', async (t) => {
  const { nic, setUp, turns, offerFrames } = makeNic();
  setUp();
  const good = new FakeSocket();
  const attached = nic.setBackend(1, good);
  turns.settle();
  await attached;
  const bad = new FakeSocket();
  bad.headerLength = 10;
  bad.setHeaderLength = () => {
    throw new Error('it cannot');
  };
  await t.rejects(nic.setBackend(1, bad));
  await t.rejects(nic.setBackend(1, 5), { code: 'ENOTSOCK' });
  offerFrames([frame(1)]);
  turns.settle();
  t.same(good.sent, [frame(1)]);
  const other = makeNic();
  other.nic.setOwner();
  await t.rejects(other.nic.setBackend(1, good), { code: 'EFAULT' }, 'no ring yet');
});

t.test('C14 busy polling looks at the ring for a while before it asks for a kick', async (t) => {
  const long = makeNic({ busyPoll: 3_600_000_000 });
  long.setUp();
  long.offerFrames([frame(1)], 10, false);
  long.nic.runQueue(1, 'running');
  for (let n = 0; n < 5; n += 1) long.turns.turn();
  t.equal(long.turns.count, 1, 'it goes on looking');
  t.equal(long.transmit.usedFlags, 1, 'and no kick is asked for meanwhile');
  long.offerFrames([frame(2)], 10, false);
  long.turns.turn();
  t.equal(long.socket.sent.length, 2, 'a frame is found without a kick');
  const short = makeNic({ busyPoll: 100 });
  short.setUp();
  short.nic.runQueue(1, 'running');
  while (short.turns.count > 0) short.turns.turn();
  t.equal(short.transmit.usedFlags, 0, 'after the time it asks');
});

t.test('C14 busy polling looks for receive buffers as it looks for frames', async (t) => {
  const { nic, setUp, turns, socket, receive, offerBuffers } = makeNic({
    busyPoll: 3_600_000_000,
  });
  setUp();
  socket.toReceive.push(frame(1));
  nic.runQueue(0, 'running');
  for (let n = 0; n < 5; n += 1) turns.turn();
  t.equal(turns.count, 1, 'it goes on looking');
  t.equal(receive.usedFlags, 1, 'and no kick is asked for meanwhile');
  t.notOk(socket.readable.observed, 'what waits in the socket is known');
  offerBuffers(1, 100, false);
  turns.turn();
  t.equal(receive.usedIndex, 1, 'a buffer is found without a kick');
  const short = makeNic({ busyPoll: 100 });
  short.setUp();
  short.socket.toReceive.push(frame(1));
  short.nic.runQueue(0, 'running');
  while (short.turns.count > 0) short.turns.turn();
  t.equal(short.receive.usedFlags, 0, 'after the time it asks');
});

t.test('T03 T04 a queue is looked at once when it begins to run, kick or no kick', async (t) => {
  const { setUp, run, turns, socket, receive, offerFrames, offerBuffers } = makeNic();
  setUp();
  offerFrames([frame(1)], 10, false);
  socket.toReceive.push(frame(2));
  offerBuffers(1, 100);
  turns.settle();
  t.same(socket.sent, []);
  run();
  t.same(socket.sent, [frame(1)]);
  t.equal(receive.usedIndex, 1);
});

t.test('a disabled queue discards what is sent and receives nothing', async (t) => {
  const { nic, setUp, turns, socket, receive, transmit, offerFrames, offerBuffers } = makeNic();
  setUp();
  nic.runQueue(0, 'discarding');
  nic.runQueue(1, 'discarding');
  socket.toReceive.push(frame(9));
  offerBuffers(1, 100);
  offerFrames([frame(1)]);
  turns.settle();
  t.same(socket.sent, []);
  t.equal(transmit.usedIndex, 1, 'the buffers come back');
  t.equal(receive.usedIndex, 0);
  t.match(nic.statistics().queues[1], { frames: 0, drops: { disabled: 1 } });
  nic.runQueue(0, 'running');
  nic.runQueue(1, 'running');
  offerFrames([frame(2)]);
  turns.settle();
  t.same(socket.sent, [frame(2)]);
  t.equal(receive.usedIndex, 1);
});

t.test('a backend that throws stops its queue, not the process', async (t) => {
  const { setUp, run, turns, socket, faults, offerFrames, offerBuffers, port } = makeNic();
  setUp();
  run();
  const { send, receive: take } = socket;
  const cut = (): never => {
    throw new Error('the cable is cut');
  };
  socket.send = cut;
  socket.receive = cut;
  offerFrames([frame(1)]);
  offerBuffers(1, 100);
  turns.settle();
  t.match(
    faults.map(({ queue, error }) => [queue, error.code]),
    [
      [1, 'EIO'],
      [0, 'EIO'],
    ],
  );
  socket.send = send;
  socket.receive = take;
  port(1).kick.signal();
  turns.settle();
  t.same(socket.sent, [frame(1)], 'the frame was put back and goes out after the next kick');
});

t.test('B6 calls are made once a batch, and only when wanted', async (t) => {
  const { nic, setUp, run, turns, port, transmit, offerFrames } = makeNic();
  setUp();
  run();
  offerFrames([frame(1), frame(2), frame(3)]);
  turns.settle();
  t.equal(port(1).call.pending, 1);
  transmit.availableFlags = 1;
  offerFrames([frame(4)]);
  turns.settle();
  t.equal(port(1).call.pending, 1);
  t.match(nic.statistics().queues[1], { kicks: 2, calls: 1, callsSuppressed: 1, frames: 4 });
});

t.test('stats$ gives the counters at once', async (t) => {
  const nic = new VhostNet();
  const seen: NetStatistics[] = [];
  nic.stats$.subscribe((statistics) => seen.push(statistics)).unsubscribe();
  t.match(seen, [{ queues: [{ queue: 0, direction: 'receive' }, { direction: 'transmit' }] }]);
});

t.test('T60 the configuration space: MAC, status, pairs, MTU, and who may write it', async (t) => {
  const mac = new Uint8Array([2, 0, 0, 0, 0, 1]);
  const { config } = new VhostNet({ mac, mtu: 9000 });
  t.same([...config.read(0, 12)], [2, 0, 0, 0, 0, 1, 1, 0, 1, 0, 0x28, 0x23]);
  t.throws(() => config.read(8, 8), { code: 'EINVAL' });
  t.throws(() => config.read(-1, 1), { code: 'EINVAL' });
  t.throws(() => config.write(0, mac, false), { code: 'EPERM' });
  config.write(0, new Uint8Array([2, 0, 0, 0, 0, 9]), true);
  t.equal(config.read(5, 1)[0], 9);
  const nic = new VhostNet({ mtu: 1400 });
  t.doesNotThrow(() => nic.setMtu(1400));
  for (const mtu of [1401, 67, 0, 65536, 1.5]) {
    t.throws(() => nic.setMtu(mtu), { code: 'EINVAL' });
  }
  t.throws(() => new VhostNet({ mac: new Uint8Array(5) }), { code: 'EINVAL' });
  t.throws(() => new VhostNet({ mac: new Uint8Array([1, 0, 0, 0, 0, 1]) }), { code: 'EINVAL' });
  t.throws(() => new VhostNet({ mtu: 10 }), { code: 'EINVAL' });
});

t.test(
  'B9 a queue that stands still after a fault asks for the kick that it waits for',
  async (t) => {
    for (const features of [0n, FEATURE.EVENT_IDX]) {
      const { setUp, run, turns, receive, transmit, port, faults } = makeNic();
      setUp(features);
      run();
      for (const [index, ring] of [receive, transmit].entries()) {
        ring.descriptor(0, { at: 0n, length: 60, flags: index === 0 ? 2 : 0, absolute: true });
        ring.offer(0, 0, 0);
        port(index).kick.signal();
      }
      turns.settle();
      t.equal(faults.length, 2);
      for (const ring of [receive, transmit]) {
        if (features === 0n) t.equal(ring.usedFlags, 0);
        else t.equal(ring.availableEvent, 3, 'with the next chain, past those that are there');
      }
    }
  },
);
