import fc from 'fast-check';
import t from 'tap';
import { FEATURE, NET_FEATURE } from '../src/index.js';
import { frame, makeNic } from './support/nic.js';

const FEATURES = FEATURE.VERSION_1 | NET_FEATURE.MRG_RXBUF;
const HEADER = 12;

function setUp(size = 8, features = FEATURES) {
  const nic = makeNic({}, size);
  nic.setUp(features);
  nic.run();
  return nic;
}

/** Reads received frames as a driver does: num_buffers chains each, used lengths as they stand. */
function readFrames({ receive }: ReturnType<typeof setUp>, header = HEADER) {
  const frames: { chains: number; lengths: number[]; bytes: Buffer }[] = [];
  for (let index = 0; index < receive.usedIndex; ) {
    const first = receive.used(index);
    const start = receive.data(first.id * 0x1000, header);
    const chains = header === 12 ? (start[10] as number) : 1;
    const lengths: number[] = [];
    const parts: Uint8Array[] = [];
    for (let n = 0; n < chains; n += 1) {
      const { id, length } = receive.used(index + n);
      lengths.push(length);
      const skip = n === 0 ? header : 0;
      parts.push(receive.data(id * 0x1000 + skip, length - skip));
    }
    frames.push({ chains, lengths, bytes: Buffer.concat(parts) });
    index += chains;
  }
  return frames;
}

t.test('C7 T50 a frame fills as many buffers as it needs, used lengths are exact', async (t) => {
  const nic = setUp();
  nic.socket.toReceive.push(frame(1, 88), frame(2, 89), frame(3, 300), frame(4, 1));
  nic.offerBuffers(8, 100);
  nic.turns.settle();
  const frames = readFrames(nic);
  t.same(
    frames.map(({ chains, lengths }) => [chains, lengths]),
    [
      [1, [100]],
      [2, [100, 1]],
      [4, [100, 100, 100, 12]],
      [1, [13]],
    ],
  );
  t.same(
    frames.map(({ bytes }) => bytes),
    [frame(1, 88), frame(2, 89), frame(3, 300), frame(4, 1)].map((bytes) => Buffer.from(bytes)),
  );
});

t.test('C7 T50 too few buffers: nothing is published, the frame waits for more', async (t) => {
  for (const eventIndex of [false, true]) {
    const nic = setUp(8, FEATURES | (eventIndex ? FEATURE.EVENT_IDX : 0n));
    nic.socket.toReceive.push(frame(1, 300), frame(2, 60));
    nic.offerBuffers(3, 100);
    nic.turns.settle();
    t.equal(nic.receive.usedIndex, 0);
    t.equal(nic.turns.count, 0, 'and nothing spins');
    t.notOk(nic.socket.readable.observed);
    if (eventIndex) t.equal(nic.receive.availableEvent, 3, 'a kick for the fourth is asked for');
    else t.equal(nic.receive.usedFlags, 0);
    nic.offerBuffers(2, 100);
    nic.turns.settle();
    t.same(
      readFrames(nic).map(({ lengths }) => lengths),
      [[100, 100, 100, 12], [72]],
    );
  }
});

t.test(
  'C6 C7 a frame larger than the whole ring is dropped, counted, and the queue goes on',
  async (t) => {
    const nic = setUp();
    nic.socket.toReceive.push(frame(1, 789), frame(2, 788));
    nic.offerBuffers(8, 100);
    nic.turns.settle();
    t.match(nic.nic.statistics().queues[0], { frames: 1, drops: { oversized: 1 } });
    t.equal(readFrames(nic)[0]?.bytes.length, 788);
  },
);

t.test('C7 all buffers of a frame are published by one used index', async (t) => {
  const nic = setUp();
  const seen = new Set<number>();
  nic.socket.toReceive.push(frame(1, 300));
  nic.offerBuffers(4, 100);
  const step = () => seen.add(nic.receive.usedIndex);
  step();
  while (nic.turns.count > 0) {
    nic.turns.turn();
    step();
  }
  t.same([...seen], [0, 4]);
});

t.test(
  'C7 T50 T52 any frames through any buffers arrive whole and in order, merged or not',
  async (t) => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 14, max: 900 }), { maxLength: 40 }),
        fc.array(
          fc.record({
            count: fc.integer({ min: 1, max: 8 }),
            size: fc.integer({ min: 20, max: 900 }),
          }),
          {
            maxLength: 40,
          },
        ),
        fc.constantFrom(FEATURES, FEATURE.VERSION_1, 0n),
        (lengths, offers, features) => {
          const nic = setUp(8, features);
          const header = features === 0n ? 10 : 12;
          const merged = features === FEATURES;
          const frames = lengths.map((length, index) => frame(index + 1, length));
          nic.socket.toReceive.push(...frames);
          const got: Buffer[] = [];
          const sizes: number[] = [];
          let read = 0;
          const drain = () => {
            while (read < nic.receive.usedIndex) {
              const first = nic.receive.used(read);
              const bytes = nic.receive.data(first.id * 0x1000, header);
              const chains = header === 12 ? (bytes[10] as number) : 1;
              if (!merged && chains !== 1) return false;
              const parts: Uint8Array[] = [];
              for (let n = 0; n < chains; n += 1) {
                const { id, length } = nic.receive.used(read + n);
                const room = sizes[read + n] as number;
                if (length > room || (n < chains - 1 && length !== room)) return false;
                const skip = n === 0 ? header : 0;
                parts.push(nic.receive.data(id * 0x1000 + skip, length - skip));
              }
              got.push(Buffer.concat(parts));
              read += chains;
            }
            return true;
          };
          for (const { count, size } of offers) {
            const free = 8 - ((nic.receive.availableIndex - nic.receive.usedIndex) & 0xffff);
            const more = Math.min(count, free);
            for (let n = 0; n < more; n += 1) sizes.push(size);
            if (more > 0) nic.offerBuffers(more, size);
            if (nic.socket.readable.observed) nic.socket.readable.next();
            nic.turns.settle();
            if (!drain()) return false;
          }
          const dropped = nic.nic.statistics().queues[0]?.drops.oversized ?? 0;
          const waiting = nic.socket.toReceive.length;
          if (got.length + dropped + waiting !== frames.length) return false;
          let at = 0;
          return got.every((bytes) => {
            while (at < frames.length && !bytes.equals(Buffer.from(frames[at] as Uint8Array)))
              at += 1;
            at += 1;
            return at <= frames.length;
          });
        },
      ),
      { numRuns: 500 },
    );
    t.pass('any frames');
  },
);

t.test('C7 B9 T32 a frame that waits for more buffers does not spin on a broken one', async (t) => {
  const nic = setUp();
  nic.socket.toReceive.push(frame(1, 300));
  nic.offerBuffers(2, 100);
  nic.turns.settle();
  nic.receive.descriptor(2, { at: 0n, length: 100, flags: 2, absolute: true });
  nic.receive.offer(2);
  nic.port(0).kick.signal();
  nic.turns.settle();
  t.match(nic.faults, [{ queue: 0, error: { code: 'EFAULT' } }]);
  t.equal(nic.receive.usedIndex, 0);
  nic.receive.descriptor(2, { at: 0x2000, length: 200, flags: 2 });
  nic.port(0).kick.signal();
  nic.turns.settle();
  t.equal(nic.receive.usedIndex, 3, 'mended, it goes on');
});

t.test('C6 C7 a ring of chains of two buffers each is as full as it can be', async (t) => {
  const nic = setUp();
  nic.socket.toReceive.push(frame(1, 789), frame(2, 60));
  for (let head = 0; head < 8; head += 2) {
    nic.receive.descriptor(head, { at: head * 0x1000, length: 100, flags: 3, next: head + 1 });
    nic.receive.descriptor(head + 1, { at: head * 0x1000 + 100, length: 100, flags: 2 });
    nic.receive.offer(head);
  }
  nic.port(0).kick.signal();
  nic.turns.settle();
  t.equal(nic.receive.usedIndex, 1, 'what cannot fit does not hold up what can');
  t.match(nic.nic.statistics().queues[0], { frames: 1, drops: { oversized: 1 } });
});

t.test('C6 C7 a frame that waits for what the ring has no room for is dropped', async (t) => {
  const nic = setUp(16);
  const offer = (head: number) => {
    for (let n = 0; n < 5; n += 1) {
      const last = n === 4;
      nic.receive.descriptor(head + n, {
        ...{ at: head * 0x1000 + 20 * n, length: 20, flags: last ? 2 : 3 },
        next: last ? 0 : head + n + 1,
      });
    }
    nic.receive.offer(head);
    nic.port(0).kick.signal();
    nic.turns.settle();
  };
  nic.socket.toReceive.push(frame(1, 289), frame(2, 288));
  offer(0);
  offer(5);
  t.match(nic.nic.statistics().queues[0], { frames: 0, drops: { oversized: 0 } });
  t.equal(nic.socket.toReceive.length, 2, 'one more chain fits into the ring');
  offer(10);
  t.match(nic.nic.statistics().queues[0], { frames: 1, drops: { oversized: 1 } });
  t.equal(readFrames(nic)[0]?.bytes.length, 288, 'and the frame behind it arrives');
});

t.test('C7 B2 a frame waits for more indirect chains, however long they are', async (t) => {
  const nic = setUp(8, FEATURES | FEATURE.INDIRECT_DESC);
  const offer = (head: number) => {
    const table = 0x8_0000 + head * 0x100;
    for (let n = 0; n < 5; n += 1) {
      const flags = n === 4 ? 2 : 3;
      nic.receive.indirect(table, n, {
        at: head * 0x1000 + 20 * n,
        length: 20,
        flags,
        next: n + 1,
      });
    }
    nic.receive.descriptor(head, { at: table, length: 80, flags: 4 });
    nic.receive.offer(head);
    nic.port(0).kick.signal();
    nic.turns.settle();
  };
  nic.socket.toReceive.push(frame(1, 200));
  offer(0);
  offer(1);
  t.match(nic.nic.statistics().queues[0], { frames: 0, drops: { oversized: 0 } });
  offer(2);
  t.match(nic.nic.statistics().queues[0], { frames: 1, drops: { oversized: 0 } });
});
