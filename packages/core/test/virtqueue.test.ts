import fc from 'fast-check';
import t from 'tap';
import {
  DESCRIPTOR_INDIRECT as INDIRECT,
  DESCRIPTOR_NEXT as NEXT,
  NO_FEATURES,
  PacketBatch,
  type RingFeatures,
  SPLIT_VIRTQUEUES,
  type Virtqueue,
  DESCRIPTOR_WRITE as WRITE,
} from '../src/index.js';
import { RingMemory } from './support/ring-memory.js';

const PLAIN: RingFeatures = NO_FEATURES;
const ALL: RingFeatures = { ...NO_FEATURES, indirect: true, eventIndex: true };
const HEADER = 12;

function setup(size = 8, features = PLAIN, base = 0) {
  const ring = new RingMemory(size);
  const memory = ring.memory();
  const queue = SPLIT_VIRTQUEUES.create(memory.table, ring.addresses, size, features, base);
  return { ring, memory, queue, batch: new PacketBatch() };
}

/** What a batch holds, as plain values: heads, and each chain's bytes. */
function contents(batch: PacketBatch) {
  return Array.from({ length: batch.count }, (_, chain) => {
    const target = new Uint8Array(batch.lengths[chain] as number);
    const copied = batch.copyFrame(chain, target);
    return { head: batch.heads[chain], bytes: [...target.subarray(0, copied)] };
  });
}

const transmit = (queue: Virtqueue, batch: PacketBatch, limit = 256) =>
  queue.takeReadable(batch, limit, HEADER, 0);
const receive = (queue: Virtqueue, batch: PacketBatch, limit = 256) =>
  queue.takeWritable(batch, limit, HEADER, 0);

t.test('B1 chains are taken in order, an empty queue is no error', async (t) => {
  const { ring, queue, batch } = setup();
  t.equal(transmit(queue, batch), 0);
  t.equal(queue.fault, undefined);
  ring.descriptor(3, { at: 0, length: 10, flags: NEXT, next: 5 });
  ring.descriptor(5, { at: 100, length: 5 });
  ring.descriptor(1, { at: 200, length: 14 });
  ring.data(0, 10).fill(1);
  ring.data(100, 5).fill(2);
  ring.data(200, 14).fill(3);
  ring.offer(3, 1);
  t.equal(transmit(queue, batch), 2);
  t.same(contents(batch), [
    { head: 3, bytes: [...Array(10).fill(1), ...Array(5).fill(2)] },
    { head: 1, bytes: Array(14).fill(3) },
  ]);
  t.equal(queue.base, 2);
});

t.test('B1 T30 an available index more than the queue size ahead is an error', async (t) => {
  const { ring, queue, batch } = setup(8);
  for (let index = 0; index < 8; index += 1) ring.descriptor(index, { at: 0, length: 60 });
  ring.offer(0, 1, 2, 3, 4, 5, 6, 7);
  t.equal(transmit(queue, batch), 8, 'a full ring is legal');
  ring.availableIndex += 9;
  t.equal(transmit(queue, batch), 0);
  t.match(queue.fault, { code: 'EINVAL' });
  t.equal(queue.base, 8, 'nothing is consumed');
  t.equal(transmit(queue, batch), 0, 'asking again neither advances nor spins');
  ring.availableIndex -= 1;
  t.equal(transmit(queue, batch), 8, 'a driver that mends its ring goes on');
});

t.test(
  'B1 B9 T31 T32 a head or next outside the table is an error and is not consumed',
  async (t) => {
    const { ring, queue, batch } = setup(8);
    ring.descriptor(0, { at: 0, length: 60 });
    ring.offer(0, 8);
    t.equal(transmit(queue, batch), 1, 'the good chain before it is given first');
    t.equal(transmit(queue, batch), 0);
    t.match(queue.fault, { code: 'EINVAL' });
    t.equal(queue.base, 1);

    const second = setup(8);
    second.ring.descriptor(0, { at: 0, length: 60, flags: NEXT, next: 8 });
    second.ring.offer(0);
    t.equal(transmit(second.queue, second.batch), 0);
    t.match(second.queue.fault, { code: 'EINVAL' });
    t.equal(second.queue.base, 0);
  },
);

t.test('B1 T31 a chain may be as long as the queue, and no longer', async (t) => {
  const { ring, queue, batch } = setup(8);
  for (let index = 0; index < 8; index += 1) {
    ring.descriptor(index, {
      at: 64 * index,
      length: 10,
      flags: index < 7 ? NEXT : 0,
      next: index + 1,
    });
  }
  ring.offer(0);
  t.equal(transmit(queue, batch), 1);
  t.equal(batch.lengths[0], 80);
  ring.descriptor(7, { at: 0, length: 10, flags: NEXT, next: 0 });
  ring.offer(0);
  t.equal(transmit(queue, batch), 0, 'a loop');
  t.match(queue.fault, { code: 'EINVAL' });
  ring.descriptor(0, { at: 0, length: 10, flags: NEXT, next: 0 });
  t.equal(transmit(queue, batch), 0, 'a descriptor that is its own next');
  t.match(queue.fault, { code: 'EINVAL' });
});

t.test('B1 T35 a readable descriptor after a writable one is an error', async (t) => {
  const { ring, queue, batch } = setup();
  ring.descriptor(0, { at: 0, length: 60, flags: WRITE | NEXT, next: 1 });
  ring.descriptor(1, { at: 100, length: 60 });
  ring.offer(0);
  t.equal(receive(queue, batch), 0);
  t.match(queue.fault, { code: 'EINVAL' });
  t.equal(queue.base, 0);
});

t.test('B9 C3 T35 T36 a malformed transmit chain is consumed without a used entry', async (t) => {
  for (const bad of [
    { at: 0, length: 60, flags: WRITE },
    { at: 0, length: HEADER },
    { at: 0, length: 0 },
  ]) {
    const { ring, queue, batch } = setup();
    ring.descriptor(0, bad);
    ring.descriptor(1, { at: 0, length: 60 });
    ring.offer(0, 1);
    t.equal(transmit(queue, batch), 0);
    t.match(queue.fault, { code: 'EINVAL' });
    t.equal(queue.base, 1);
    t.equal(ring.usedIndex, 0);
    t.equal(transmit(queue, batch), 1, 'the next one is fine');
  }
});

t.test('B9 T35 a malformed receive chain stays where it is', async (t) => {
  for (const bad of [
    { at: 0, length: 60 },
    { at: 0, length: HEADER - 1, flags: WRITE },
  ]) {
    const { ring, queue, batch } = setup();
    ring.descriptor(0, bad);
    ring.offer(0);
    t.equal(receive(queue, batch), 0);
    t.match(queue.fault, { code: 'EINVAL' });
    t.equal(queue.base, 0);
  }
});

t.test('B3 T22 buffers outside memory are a fault, whatever their numbers', async (t) => {
  const places: [bigint, number][] = [
    [0n, 64],
    [0xffff_ffff_ffff_ffffn, 64],
    [0xffff_ffff_ffff_fff0n, 0xffff_ffff],
    [0x8000_0000_0000_0000n, 64],
    [0x20_0000_0000_0000n, 64],
    [0x1f_ffff_ffff_fff0n, 64],
    [0x10_0000n + 0x10_0000n - 63n, 64],
    [0x10_0000n - 1n, 64],
  ];
  for (const [address, length] of places) {
    const { ring, queue, batch } = setup();
    ring.descriptor(0, { at: address, length, absolute: true });
    ring.offer(0);
    t.equal(transmit(queue, batch), 0, `0x${address.toString(16)}`);
    t.match(queue.fault, { code: 'EFAULT' });
    t.equal(queue.base, 0);
  }
});

t.test('B3 T34 a zero-length descriptor is skipped, even at an address in no region', async (t) => {
  const { ring, queue, batch } = setup();
  ring.descriptor(0, { at: 0n, length: 0, absolute: true, flags: NEXT, next: 1 });
  ring.descriptor(1, { at: 0, length: 60, flags: NEXT, next: 2 });
  ring.descriptor(2, { at: 0n, length: 0, absolute: true });
  ring.offer(0);
  t.equal(transmit(queue, batch), 1);
  t.equal(batch.lengths[0], 60);
  t.equal(batch.segments.count, 1);
});

t.test('B3 more segments than 1024 in one chain is ENOBUFS', async (t) => {
  const entries = 1025;
  const { ring, queue, batch } = setup(8, ALL);
  const put = (count: number) => {
    for (let index = 0; index < count; index += 1) {
      const flags = index < count - 1 ? NEXT : 0;
      ring.indirect(0x1000, index, { at: 0, length: 1, flags, next: index + 1 });
    }
    ring.descriptor(0, { at: 0x1000, length: 16 * count, flags: INDIRECT });
    ring.offer(0);
  };
  put(entries - 1);
  t.equal(transmit(queue, batch), 1);
  t.equal(batch.segments.count, 1024);
  put(entries);
  t.equal(transmit(queue, batch), 0);
  t.match(queue.fault, { code: 'ENOBUFS' });
});

t.test('B2 T33 indirect tables: what is legal works, what is not is refused', async (t) => {
  const legal = setup(8, ALL);
  legal.ring.descriptor(0, { at: 0, length: 20, flags: NEXT, next: 1 });
  legal.ring.descriptor(1, { at: 0x1003, length: 32, flags: INDIRECT | WRITE });
  legal.ring.indirect(0x1003, 0, { at: 100, length: 7, flags: NEXT, next: 1 });
  legal.ring.indirect(0x1003, 1, { at: 200, length: 9 });
  legal.ring.offer(0);
  t.equal(transmit(legal.queue, legal.batch), 1, 'a table behind direct descriptors, unaligned');
  t.equal(legal.batch.lengths[0], 36);
  t.equal(legal.queue.fault, undefined);

  const cases: [string, RingFeatures, (ring: RingMemory) => void, string][] = [
    [
      'not negotiated',
      PLAIN,
      (ring) => ring.descriptor(0, { at: 0x1000, length: 16, flags: INDIRECT }),
      'EINVAL',
    ],
    [
      'a length that is no multiple of 16',
      ALL,
      (ring) => ring.descriptor(0, { at: 0x1000, length: 24, flags: INDIRECT }),
      'EINVAL',
    ],
    [
      'a length of zero',
      ALL,
      (ring) => ring.descriptor(0, { at: 0x1000, length: 0, flags: INDIRECT }),
      'EINVAL',
    ],
    [
      'with NEXT',
      ALL,
      (ring) => ring.descriptor(0, { at: 0x1000, length: 16, flags: INDIRECT | NEXT, next: 1 }),
      'EINVAL',
    ],
    [
      'more than 65535 entries',
      ALL,
      (ring) => ring.descriptor(0, { at: 0x1000, length: 16 * 65536, flags: INDIRECT }),
      'E2BIG',
    ],
    [
      'outside memory',
      ALL,
      (ring) => ring.descriptor(0, { at: 0xe_ffff, length: 16, flags: INDIRECT }),
      'EFAULT',
    ],
    [
      'a table in a table',
      ALL,
      (ring) => {
        ring.descriptor(0, { at: 0x1000, length: 16, flags: INDIRECT });
        ring.indirect(0x1000, 0, { at: 0x2000, length: 16, flags: INDIRECT });
      },
      'EINVAL',
    ],
    [
      'next outside the table',
      ALL,
      (ring) => {
        ring.descriptor(0, { at: 0x1000, length: 32, flags: INDIRECT });
        ring.indirect(0x1000, 0, { at: 0, length: 60, flags: NEXT, next: 2 });
      },
      'EINVAL',
    ],
    [
      'a loop',
      ALL,
      (ring) => {
        ring.descriptor(0, { at: 0x1000, length: 32, flags: INDIRECT });
        ring.indirect(0x1000, 0, { at: 0, length: 60, flags: NEXT, next: 1 });
        ring.indirect(0x1000, 1, { at: 0, length: 60, flags: NEXT, next: 0 });
      },
      'EINVAL',
    ],
  ];
  for (const [name, features, write, code] of cases) {
    const { ring, queue, batch } = setup(8, features);
    write(ring);
    ring.offer(0);
    t.equal(transmit(queue, batch), 0, name);
    t.match(queue.fault, { code }, name);
    t.equal(queue.base, 0, name);
  }
});

t.test('B4 what is put back is given again, across the index wrap', async (t) => {
  const { ring, queue, batch } = setup(4, PLAIN, 0xfffe);
  ring.availableIndex = 0xfffe;
  for (let index = 0; index < 4; index += 1) ring.descriptor(index, { at: 0, length: 60 });
  ring.offer(2, 0, 3, 1);
  t.equal(transmit(queue, batch), 4);
  queue.putBack(3);
  t.equal(queue.base, 0xffff);
  t.equal(transmit(queue, batch), 3);
  t.same(
    contents(batch).map(({ head }) => head),
    [0, 3, 1],
  );
});

t.test('B5 used entries are published one or many at a time and wrap', async (t) => {
  const ring = new RingMemory(4);
  ring.usedIndex = 0xfffd;
  ring.availableIndex = 0xfffd;
  for (let index = 0; index < 4; index += 1) {
    ring.descriptor(index, { at: 100 * index, length: 60, flags: WRITE });
  }
  ring.offer(3, 1, 0, 2);
  const { table } = ring.memory();
  const queue = SPLIT_VIRTQUEUES.create(table, ring.addresses, 4, PLAIN, 0xfffd);
  const batch = new PacketBatch();
  t.equal(receive(queue, batch), 4);
  for (const length of [20, 30, 40, 50])
    t.equal(batch.deliver(new Uint8Array(length)), 'delivered');
  queue.completeWritable(batch);
  t.equal(ring.usedIndex, 1);
  t.same(
    [0xfffd, 0xfffe, 0xffff, 0].map((index) => ring.used(index)),
    [
      { id: 3, length: 20 },
      { id: 1, length: 30 },
      { id: 0, length: 40 },
      { id: 2, length: 50 },
    ],
  );
});

t.test('A11 T06 attaching clears used.flags and takes the used index from memory', async (t) => {
  const ring = new RingMemory(8);
  ring.usedFlags = 1;
  ring.usedIndex = 41;
  ring.descriptor(0, { at: 0, length: 60 });
  ring.offer(0);
  const { table } = ring.memory();
  const queue = SPLIT_VIRTQUEUES.create(table, ring.addresses, 8, PLAIN, 0);
  t.equal(ring.usedFlags, 0);
  const batch = new PacketBatch();
  transmit(queue, batch);
  queue.completeReadable(batch.heads, 0, 1);
  t.equal(ring.usedIndex, 42);
  t.same(ring.used(41), { id: 0, length: 0 });
});

t.test('B6 a call is wanted unless the driver says NO_INTERRUPT', async (t) => {
  const { ring, queue } = setup();
  t.equal(queue.takeCallWanted(), true);
  ring.availableFlags = 1;
  t.equal(queue.takeCallWanted(), false);
});

t.test('B6 NOTIFY_ON_EMPTY calls when nothing is left, wanted or not', async (t) => {
  const { ring, queue, batch } = setup(8, { ...PLAIN, notifyOnEmpty: true });
  ring.availableFlags = 1;
  ring.descriptor(0, { at: 0, length: 60 });
  ring.offer(0, 0);
  transmit(queue, batch, 1);
  t.equal(queue.takeCallWanted(), false);
  transmit(queue, batch, 1);
  t.equal(queue.takeCallWanted(), true);
});

t.test(
  'B6 T41 with EVENT_IDX a call goes out when used_event is passed, the first one always',
  async (_t) => {
    fc.assert(
      fc.property(
        fc.nat(0xffff),
        fc.array(fc.record({ count: fc.integer({ min: 1, max: 8 }), event: fc.nat(0xffff) })),
        (start, steps) => {
          const ring = new RingMemory(8);
          ring.usedIndex = start;
          ring.availableIndex = start;
          ring.descriptor(0, { at: 0, length: 60 });
          const { table } = ring.memory();
          const queue = SPLIT_VIRTQUEUES.create(table, ring.addresses, 8, ALL, start);
          const batch = new PacketBatch();
          let first = true;
          for (const { count, event } of steps) {
            const old = ring.usedIndex;
            ring.usedEvent = event;
            ring.offer(...Array<number>(count).fill(0));
            transmit(queue, batch);
            queue.completeReadable(batch.heads, 0, count);
            // Spelled out: one of the entries just published has the number `event`.
            let passed = false;
            for (let n = 0; n < count; n += 1) passed ||= ((old + n) & 0xffff) === event;
            if (queue.takeCallWanted() !== (first || passed)) return false;
            first = false;
          }
          return true;
        },
      ),
    );
  },
);

t.test('B7 T41 asking for kicks tells whether buffers slipped in', async (t) => {
  for (const features of [PLAIN, ALL]) {
    const { ring, queue, batch } = setup(8, features);
    ring.descriptor(0, { at: 0, length: 60 });
    queue.disableNotifications();
    t.equal(ring.usedFlags, features.eventIndex ? 0 : 1, 'with EVENT_IDX the flag stays 0');
    t.equal(queue.enableNotifications(), false);
    t.equal(ring.usedFlags, 0);
    ring.offer(0);
    t.equal(queue.enableNotifications(), true, 'a buffer that came meanwhile is not lost');
    transmit(queue, batch);
    t.equal(queue.enableNotifications(), false);
    if (features.eventIndex) t.equal(ring.availableEvent, 1, 'a kick for the next one');
  }
});

t.test('T23 a queue goes on after its memory was replaced', async (t) => {
  const { ring, memory, queue, batch } = setup();
  ring.descriptor(0, { at: 0, length: 60 });
  ring.offer(0);
  transmit(queue, batch);
  queue.completeReadable(batch.heads, 0, 1);
  const other = new RingMemory(8);
  other.bytes.set(ring.bytes);
  memory.replace([other.region]);
  queue.relocate(memory.table, other.addresses);
  other.offer(0);
  t.equal(transmit(queue, batch), 1);
  queue.completeReadable(batch.heads, 0, 1);
  t.equal(other.usedIndex, 2);
  t.equal(ring.usedIndex, 1, 'the old memory is left alone');
});

t.test(
  'B3 T21 T33 any way to cut buffers and tables by regions gives the same bytes',
  async (_t) => {
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.integer({ min: 0x1_0000, max: 0x1_3fff }), { maxLength: 12 }),
        fc.array(fc.record({ at: fc.nat(0x2fff), length: fc.nat(0x800) }), {
          minLength: 1,
          maxLength: 40,
        }),
        fc.boolean(),
        (cuts, pieces, indirect) => {
          const ring = new RingMemory(64);
          for (let index = 0; index < ring.bytes.length; index += 1) ring.bytes[index] = index * 31;
          ring.availableIndex = 0;
          ring.usedIndex = 0;
          const total = pieces.reduce((sum, { length }) => sum + length, 0);
          pieces.forEach(({ at, length }, index) => {
            const flags = index < pieces.length - 1 ? NEXT : 0;
            if (indirect) ring.indirect(0x3001, index, { at, length, flags, next: index + 1 });
            else ring.descriptor(index, { at, length, flags, next: index + 1 });
          });
          if (indirect) {
            ring.descriptor(0, { at: 0x3001, length: 16 * pieces.length, flags: INDIRECT });
          }
          ring.offer(0);
          const memory = ring.memory();
          const borders = [0, ...cuts.sort((a, b) => a - b), ring.buffer.byteLength];
          memory.replace(
            borders.slice(1).map((end, n) => {
              const start = borders[n] as number;
              return {
                guestAddress: ring.region.guestAddress + start,
                userAddress: ring.region.userAddress + start,
                size: end - start,
                mapping: ring.region.mapping,
                mappingOffset: start,
              };
            }),
          );
          const queue = SPLIT_VIRTQUEUES.create(memory.table, ring.addresses, 64, ALL, 0);
          const batch = new PacketBatch();
          const taken = transmit(queue, batch);
          if (total <= HEADER) return taken === 0 && queue.fault?.code === 'EINVAL';
          const expected = pieces.flatMap(({ at, length }) => [...ring.data(at, length)]);
          return (
            taken === 1 &&
            Buffer.from(expected).equals(Buffer.from(contents(batch)[0]?.bytes ?? []))
          );
        },
      ),
      { numRuns: 300 },
    );
  },
);

t.test(
  'T38 a chain is what it was when it was read, whatever the driver writes later',
  async (t) => {
    const { ring, queue, batch } = setup();
    ring.descriptor(0, { at: 0, length: 60, flags: NEXT, next: 1 });
    ring.descriptor(1, { at: 100, length: 20 });
    ring.offer(0);
    transmit(queue, batch);
    ring.descriptor(0, { at: 0xffff_ffff_ffffn, length: 0xffff_ffff, absolute: true });
    ring.descriptor(1, { at: 0xffff_ffff_ffffn, length: 0xffff_ffff, absolute: true });
    t.equal(batch.lengths[0], 80);
    t.equal(batch.segments.length[0], 60);
    t.equal(batch.segments.length[1], 20);
  },
);

t.test(
  'T34 T43 a take is bounded however many empty descriptors a guest strings together',
  async (t) => {
    const { ring, queue, batch } = setup(8, ALL);
    const entries = 4000;
    for (let index = 0; index < entries; index += 1) {
      const flags = index < entries - 1 ? NEXT : 0;
      ring.indirect(0x1000, index, {
        at: 0,
        length: index === 0 ? 60 : 0,
        flags,
        next: index + 1,
      });
    }
    ring.descriptor(0, { at: 0x1000, length: 16 * entries, flags: INDIRECT });
    ring.offer(0, 0, 0, 0, 0, 0, 0, 0);
    t.ok(transmit(queue, batch) <= 3);
    t.ok(queue.walked < 3 * entries + 8);
  },
);

t.test('a descriptor table at an odd address works (A9)', async (t) => {
  const ring = new RingMemory(8);
  const { table } = ring.memory();
  const addresses = { ...ring.addresses, descriptorTable: ring.addresses.descriptorTable + 1 };
  ring.descriptor(0, { at: 0, length: 60 });
  ring.bytes.copyWithin(1, 0, 16);
  ring.offer(0);
  const queue = SPLIT_VIRTQUEUES.create(table, addresses, 8, PLAIN, 0);
  const batch = new PacketBatch();
  t.equal(transmit(queue, batch), 1);
  t.equal(batch.lengths[0], 60);
});
