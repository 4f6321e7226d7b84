import fc from 'fast-check';
import t from 'tap';
import {
  ArrayBufferMapping,
  DirtyLog,
  DESCRIPTOR_INDIRECT as INDIRECT,
  INITIAL_PACKED_BASE,
  NO_FEATURES,
  NO_LOG,
  PACKED_VIRTQUEUES,
  PacketBatch,
  type RingFeatures,
  type Virtqueue,
  DESCRIPTOR_WRITE as WRITE,
} from '../src/index.js';
import { PackedRingMemory } from './support/packed-ring-memory.js';
import { GUEST_BASE } from './support/ring-memory.js';

const PLAIN: RingFeatures = { ...NO_FEATURES, packed: true };
const ALL: RingFeatures = { ...PLAIN, indirect: true, eventIndex: true };
const HEADER = 12;
/** Flags of a used descriptor in rounds of wrap counter 1 and 0, and the one that says it was written. */
const USED = [0, 0x8080] as const;
const WROTE = 2;

function setup(size = 8, features = PLAIN, base = INITIAL_PACKED_BASE) {
  const ring = new PackedRingMemory(size);
  const memory = ring.memory();
  const queue = PACKED_VIRTQUEUES.create(memory.table, ring.addresses, size, features, base);
  return { ring, memory, queue, batch: new PacketBatch() };
}

const transmit = (queue: Virtqueue, batch: PacketBatch, limit = 256) =>
  queue.takeReadable(batch, limit, HEADER, 0);
const receive = (queue: Virtqueue, batch: PacketBatch, limit = 256) =>
  queue.takeWritable(batch, limit, HEADER, 0);
const heads = (batch: PacketBatch) => [...batch.heads.subarray(0, batch.count)];
/** Position and wrap counter, as half a base. */
const place = (position: number, wrap: 0 | 1) => position | (wrap << 15);
const base = (available: number, used: number) => (available | (used << 16)) >>> 0;

t.test(
  'B1 T39 chains are taken in ring order and named by the id of their last descriptor',
  async (t) => {
    const { ring, queue, batch } = setup(3);
    t.equal(transmit(queue, batch), 0);
    t.equal(queue.fault, undefined);
    t.equal(queue.base, INITIAL_PACKED_BASE);
    ring.data(0, 10).fill(1);
    ring.data(100, 5).fill(2);
    ring.chain(2, { at: 0, length: 10, id: 77 }, { at: 100, length: 5, id: 2 });
    ring.chain(0, { at: 200, length: 14 });
    t.equal(transmit(queue, batch), 2);
    t.same(heads(batch), [2, 0]);
    const bytes = new Uint8Array(15);
    batch.copyFrame(0, bytes);
    t.same([...bytes], [...Array(10).fill(1), ...Array(5).fill(2)]);
    t.equal(
      queue.base,
      base(place(0, 0), place(0, 1)),
      'available is in the next round, used is not',
    );
    t.ok(queue.isEmpty());
  },
);

t.test(
  'B5 T39 used descriptors: id, length, flags of the round, one for all of a chain',
  async (t) => {
    const { ring, queue, batch } = setup(5);
    ring.chain(4, { at: 0, length: 20 }, { at: 100, length: 20 });
    ring.chain(1, { at: 200, length: 20 });
    t.equal(transmit(queue, batch), 2);
    queue.completeReadable(batch.heads, 0, 2);
    t.same(ring.at(0), { id: 4, length: 0, flags: USED[1] });
    t.same(ring.at(2), { id: 1, length: 0, flags: USED[1] });
    ring.chain(4, { at: 0, length: 40, flags: WRITE }, { at: 100, length: 20, flags: WRITE });
    ring.chain(3, { at: 200, length: 20, flags: WRITE });
    t.equal(receive(queue, batch), 2);
    batch.deliver(new Uint8Array(50));
    batch.deliver(new Uint8Array(13));
    queue.completeWritable(batch);
    t.same(ring.at(3), { id: 4, length: 50, flags: USED[1] | WROTE });
    t.same(ring.at(0), { id: 3, length: 13, flags: USED[0] | WROTE }, 'the next round');
    t.equal(queue.base, base(place(1, 0), place(1, 0)));
  },
);

t.test('T39 a chain that fills the whole ring, round after round', async (t) => {
  for (const size of [1, 3, 8]) {
    const { ring, queue, batch } = setup(size);
    for (let round = 0; round < 6; round += 1) {
      const wrap = round % 2 === 0 ? 1 : 0;
      const whole = Array.from({ length: size }, (_, index) => ({ at: 100 * index, length: 20 }));
      ring.chain(size - 1, ...whole);
      t.equal(transmit(queue, batch), 1);
      t.equal(batch.lengths[0], 20 * size);
      t.ok(queue.isEmpty(), 'nothing is available while the device has it');
      t.equal(transmit(queue, new PacketBatch()), 0);
      queue.completeReadable(batch.heads, 0, 1);
      t.same(ring.at(0), { id: size - 1, length: 0, flags: USED[wrap] });
      t.ok(queue.isEmpty());
    }
  }
});

t.test(
  'T31 T39 a chain longer than the ring, an id outside it or out already, is a fault',
  async (t) => {
    const long = setup(4);
    for (let index = 0; index < 4; index += 1) {
      long.ring.entry(index, { at: 0, length: 20, flags: 0x81 });
    }
    t.equal(transmit(long.queue, long.batch), 0);
    t.match(long.queue.fault, { code: 'EINVAL', message: /loop/ });

    const outside = setup(4);
    outside.ring.chain(4, { at: 0, length: 20 });
    t.equal(transmit(outside.queue, outside.batch), 0);
    t.match(outside.queue.fault, { code: 'EINVAL', message: /id 4 / });

    const two = [
      { at: 0, length: 9 },
      { at: 0, length: 9 },
    ];
    const twice = setup(4);
    twice.ring.chain(1, ...two);
    twice.ring.chain(1, ...two);
    t.equal(transmit(twice.queue, twice.batch), 1, 'up to there all is well');
    t.match(twice.queue.fault, { code: 'EINVAL', message: /still has it/ });
    twice.queue.completeReadable(twice.batch.heads, 0, 1);
    t.equal(transmit(twice.queue, twice.batch), 1, 'and once it is back it may come again');
  },
);

t.test('T39 an id that a driver uses for two chains leads the device nowhere', async (t) => {
  const { ring, queue, batch } = setup(6);
  const one = { at: 0, length: 20 };
  ring.chain(2, one);
  ring.chain(2, one, one, one);
  ring.chain(2, one);
  t.equal(transmit(queue, batch), 3);
  queue.completeReadable(Uint32Array.of(2, 2, 2), 0, 3);
  t.equal(queue.base & 0xffff, place(5, 1), 'as far as it has taken');
  t.equal(queue.base >>> 16, place(5, 1), 'it has given back');
});

t.test(
  'T30 T39 a driver that takes no account of what is out makes nothing available',
  async (t) => {
    const { ring, queue, batch } = setup(4);
    for (let id = 0; id < 3; id += 1) ring.chain(id, { at: 0, length: 20 });
    t.equal(transmit(queue, batch), 3);
    // Available again in the next round, although none was used; the chain runs into them.
    for (let index = 0; index < 3; index += 1) {
      ring.entry(index, { at: 0, length: 20, flags: 0x8000, id: 3 });
    }
    ring.entry(3, { at: 0, length: 20, flags: 0x81, id: 3 });
    t.equal(transmit(queue, batch), 0);
    t.match(queue.fault, { code: 'EINVAL', message: /more descriptors/ });
    ring.entry(3, { at: 0, length: 20, flags: 0x80, id: 3 });
    t.equal(transmit(queue, batch), 1);
    t.equal(transmit(queue, new PacketBatch()), 0, 'all four are out');
    t.equal(queue.fault, undefined);
    t.ok(queue.isEmpty());
    t.notOk(queue.enableNotifications(), 'nor is there anything to look at');
  },
);

t.test('B2 T33 T39 indirect tables: entries in a row, NEXT in them means nothing', async (t) => {
  const { ring, queue, batch } = setup(4, ALL);
  ring.tableEntry(0x100, 0, { at: 0, length: 10, flags: 0 });
  ring.tableEntry(0x100, 1, { at: 20, length: 10, flags: 1, id: 999 });
  ring.tableEntry(0x100, 2, { at: 40, length: 10, flags: 0 });
  ring.chain(3, { at: 0x100, length: 48, flags: INDIRECT });
  ring.chain(1, { at: 60, length: 7 }, { at: 0x100, length: 48, flags: INDIRECT });
  t.equal(transmit(queue, batch), 2);
  t.same(heads(batch), [3, 1]);
  t.same([...batch.lengths.subarray(0, 2)], [30, 37]);
  queue.completeReadable(batch.heads, 0, 2);
  t.same(ring.at(1), { id: 1, length: 0, flags: USED[1] }, 'one descriptor was the first chain');
  t.equal(queue.base, base(place(3, 1), place(3, 1)));

  const wrong = [
    ['T33 no whole entries', { at: 0x100, length: 47, flags: INDIRECT }],
    ['T33 empty', { at: 0x100, length: 0, flags: INDIRECT }],
    ['T33 outside memory', { at: 2 ** 52, length: 16, flags: INDIRECT, absolute: true }],
  ] as const;
  for (const [name, descriptor] of wrong) {
    const fresh = setup(4, ALL);
    fresh.ring.chain(0, descriptor);
    t.equal(transmit(fresh.queue, fresh.batch), 0, name);
    t.match(fresh.queue.fault, { code: /EINVAL|EFAULT/ }, name);
    t.equal(fresh.queue.base, INITIAL_PACKED_BASE, name);
  }
  const both = setup(4, ALL);
  both.ring.entry(0, { at: 0x100, length: 48, flags: INDIRECT | 0x81 });
  t.equal(transmit(both.queue, both.batch), 0);
  t.match(both.queue.fault, { message: /going on/ });
  const nested = setup(4, ALL);
  nested.ring.tableEntry(0x100, 0, { at: 0x100, length: 16, flags: INDIRECT });
  nested.ring.chain(0, { at: 0x100, length: 16, flags: INDIRECT });
  t.equal(transmit(nested.queue, nested.batch), 0);
  t.match(nested.queue.fault, { message: /inside an indirect/ });
  const refused = setup(4, PLAIN);
  refused.ring.chain(0, { at: 0x100, length: 48, flags: INDIRECT });
  t.equal(transmit(refused.queue, refused.batch), 0);
  t.match(refused.queue.fault, { message: /not negotiated/ });
});

t.test(
  'B9 C3 T34 T35 chains of no use: consumed on transmit, kept on receive and in order',
  async (t) => {
    for (const inOrder of [false, true]) {
      const { ring, queue, batch } = setup(4, { ...PLAIN, inOrder });
      ring.chain(0, { at: 0, length: 20 }, { at: 100, length: 5, flags: WRITE });
      ring.chain(1, { at: 0, length: 20 });
      t.equal(transmit(queue, batch), 0);
      t.match(queue.fault, { code: 'EINVAL' });
      if (inOrder) {
        t.equal(queue.base, INITIAL_PACKED_BASE, 'nothing may be used past it');
        continue;
      }
      t.equal(transmit(queue, batch), 1);
      queue.completeReadable(batch.heads, 0, 1);
      t.same(ring.at(0), { id: 1, length: 0, flags: USED[1] }, 'the first place that is not used');
      t.equal(queue.base, base(place(3, 1), place(1, 1)), 'two descriptors never come back');
    }
    const empty = setup(4);
    empty.ring.chain(0, { at: 0, length: 0, flags: WRITE }, { at: 0, length: 0, flags: WRITE });
    t.equal(receive(empty.queue, empty.batch), 0);
    t.match(empty.queue.fault, { code: 'EINVAL', message: /no more than its header/ });
    t.equal(empty.queue.base, INITIAL_PACKED_BASE);
  },
);

t.test('B4 what is put back is given again, around the end of the ring', async (t) => {
  const start = base(place(4, 1), place(4, 1));
  const { ring, queue, batch } = setup(5, PLAIN, start);
  ring.move(4);
  ring.chain(0, { at: 0, length: 20 });
  ring.chain(1, { at: 0, length: 8 }, { at: 0, length: 8 });
  ring.chain(2, { at: 0, length: 20 });
  t.equal(transmit(queue, batch), 3);
  queue.putBack(2);
  t.equal(queue.base, base(place(0, 0), place(4, 1)));
  t.equal(transmit(queue, batch), 2);
  t.same(heads(batch), [1, 2]);
  queue.putBack(2);
  queue.completeReadable(Uint32Array.of(0), 0, 1);
  t.same(ring.at(4), { id: 0, length: 0, flags: USED[1] });
  t.equal(transmit(queue, batch), 2);
});

t.test('chains may be completed in another order than they came in', async (t) => {
  const { ring, queue, batch } = setup(6);
  ring.chain(5, { at: 0, length: 20 }, { at: 0, length: 20 }, { at: 0, length: 20 });
  ring.chain(3, { at: 0, length: 20 });
  ring.chain(0, { at: 0, length: 20 }, { at: 0, length: 20 });
  transmit(queue, batch);
  queue.completeReadable(Uint32Array.of(0, 5), 0, 1);
  t.same(ring.at(0), { id: 0, length: 0, flags: USED[1] });
  queue.completeReadable(Uint32Array.of(3, 5), 0, 2);
  t.same(ring.at(2), { id: 3, length: 0, flags: USED[1] });
  t.same(ring.at(3), { id: 5, length: 0, flags: USED[1] });
  t.equal(queue.base, base(place(0, 0), place(0, 0)));
  queue.completeReadable(Uint32Array.of(3), 0, 1);
  t.equal(queue.base, base(place(0, 0), place(0, 0)), 'what is not out is not given back');
});

t.test(
  'in order, one used descriptor stands for all that were sent, but not for what was received',
  async (t) => {
    const { ring, queue, batch } = setup(6, { ...PLAIN, inOrder: true });
    ring.chain(0, { at: 0, length: 20 }, { at: 0, length: 20 });
    ring.chain(2, { at: 0, length: 20 });
    ring.chain(3, { at: 0, length: 20 });
    transmit(queue, batch);
    queue.completeReadable(batch.heads, 0, 3);
    t.same(ring.at(0), { id: 3, length: 0, flags: USED[1] });
    t.same(ring.at(2).flags, 0x80, 'the others stay as they are');
    t.equal(queue.base, base(place(4, 1), place(4, 1)));
    ring.chain(4, { at: 0, length: 20, flags: WRITE });
    ring.chain(5, { at: 0, length: 20, flags: WRITE });
    receive(queue, batch);
    batch.deliver(new Uint8Array(14));
    batch.deliver(new Uint8Array(15));
    queue.completeWritable(batch);
    t.same(ring.at(4), { id: 4, length: 14, flags: USED[1] | WROTE });
    t.same(ring.at(5), { id: 5, length: 15, flags: USED[1] | WROTE });
  },
);

t.test('C7 the first used descriptor of a batch is written last', async (t) => {
  const { ring, queue, batch } = setup(4);
  for (let id = 0; id < 3; id += 1) ring.chain(id, { at: 100 * id, length: 40, flags: WRITE });
  receive(queue, batch);
  batch.chainsPerFrame = 3;
  batch.deliver(new Uint8Array(100));
  const store = Atomics.store;
  let visible: number[] = [];
  Atomics.store = ((words: Uint32Array, index: number, value: number) => {
    visible = [0, 1, 2].map((position) => ring.at(position).flags);
    return store(words, index, value);
  }) as typeof Atomics.store;
  try {
    queue.completeWritable(batch);
  } finally {
    Atomics.store = store;
  }
  t.same(visible, [0x82, USED[1] | WROTE, USED[1] | WROTE]);
  t.same(
    [0, 1, 2].map((position) => ring.at(position).length),
    [40, 40, 20],
  );
  t.equal(ring.at(0).flags, USED[1] | WROTE);
});

t.test('B6 calls: always, never, and what nobody has defined', async (t) => {
  const { ring, queue } = setup();
  t.equal(queue.takeCallWanted(), true);
  ring.driverEvent = { flags: 1 };
  t.equal(queue.takeCallWanted(), false);
  ring.driverEvent = { flags: 2 };
  t.equal(queue.takeCallWanted(), true, 'without EVENT_IDX there is no such wish');
  ring.driverEvent = { flags: 3 };
  t.equal(queue.takeCallWanted(), true);
});

t.test(
  'B6 T41 with EVENT_IDX a call goes out when the offset is passed, the first one always',
  async (_t) => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 9 }),
        fc.array(
          fc.record({ count: fc.integer({ min: 1, max: 9 }), at: fc.nat(8), same: fc.boolean() }),
          { maxLength: 30 },
        ),
        (size, steps) => {
          const { ring, queue, batch } = setup(size, ALL);
          let used = 0;
          let first = true;
          for (const { count, at, same } of steps) {
            const chains = Math.min(count, size);
            for (let id = 0; id < chains; id += 1) ring.chain(id, { at: 0, length: 20 });
            transmit(queue, batch);
            queue.completeReadable(batch.heads, 0, chains);
            // Spelled out: entries are numbered for ever; the event is in the round where the device
            // is now, or in the one before.
            const now = used + chains;
            const round = Math.floor(now / size) - (same ? 0 : 1);
            const event = round * size + (at % size);
            const wrap = (((round % 2) + 2) % 2 === 0 ? 1 : 0) as 0 | 1;
            ring.driverEvent = { flags: 2, at: at % size, wrap };
            const wanted = first || (event >= used && event < now);
            used = now;
            first = false;
            if (queue.takeCallWanted() !== wanted) return false;
          }
          return true;
        },
      ),
      { numRuns: 500 },
    );
  },
);

t.test('B7 T41 asking for kicks tells whether buffers slipped in', async (t) => {
  for (const features of [PLAIN, ALL]) {
    const { ring, queue, batch } = setup(3, features);
    const flags = features.eventIndex ? 2 : 0;
    t.same(ring.deviceEvent, { flags: 0, at: 0, wrap: 0 }, 'attached: kick');
    queue.disableNotifications();
    t.equal(ring.deviceEvent.flags, 1);
    t.equal(queue.enableNotifications(), false);
    t.same(ring.deviceEvent, { flags, at: 0, wrap: features.eventIndex ? 1 : 0 });
    ring.chain(0, { at: 0, length: 20 }, { at: 0, length: 20 });
    t.equal(queue.enableNotifications(), true, 'a buffer that came meanwhile is not lost');
    transmit(queue, batch);
    t.equal(queue.enableNotifications(), false);
    if (features.eventIndex) t.same(ring.deviceEvent, { flags: 2, at: 2, wrap: 1 });
    ring.chain(1, { at: 0, length: 20 });
    transmit(queue, batch);
    queue.putBack(1);
    t.equal(queue.enableNotifications(1), false, 'one was seen, and is too few');
    if (features.eventIndex) t.same(ring.deviceEvent, { flags: 2, at: 0, wrap: 0 });
    queue.requestKick();
    t.equal(ring.deviceEvent.flags, 0);
  }
});

t.test(
  'A7 A8 A9 T40 sizes, bases and places that no packed ring can have are refused',
  async (t) => {
    const { ring, memory } = setup();
    const attach = (size: number, from: number, addresses = ring.addresses) =>
      PACKED_VIRTQUEUES.create(memory.table, addresses, size, PLAIN, from);
    for (const size of [0, -1, 1.5, 32769]) {
      t.throws(() => PACKED_VIRTQUEUES.checkSize(size, PLAIN), { code: 'EINVAL' }, `size ${size}`);
    }
    for (const size of [1, 7, 1000, 32768]) {
      t.doesNotThrow(() => PACKED_VIRTQUEUES.checkSize(size, PLAIN));
    }
    const impossible = [
      ['available outside', place(8, 1), place(0, 1)],
      ['used outside', place(0, 1), place(8, 1)],
      ['used ahead', place(3, 1), place(4, 1)],
      ['more than a round', place(5, 0), place(4, 1)],
    ] as const;
    for (const [name, available, used] of impossible) {
      t.throws(() => attach(8, base(available, used)), { code: 'EINVAL' }, name);
    }
    t.throws(() => PACKED_VIRTQUEUES.checkBase(2 ** 32, PLAIN), { code: 'EINVAL' });
    t.equal(
      attach(8, 0x8003).base,
      base(place(3, 1), place(3, 1)),
      'without a used half it is the same',
    );
    for (const area of ['descriptorTable', 'availableRing', 'usedRing'] as const) {
      const shifted = { ...ring.addresses, [area]: ring.addresses[area] + 2 };
      t.throws(() => attach(8, 0, shifted), { code: 'EINVAL' }, `${area} not aligned`);
      t.throws(() => attach(8, 0, { ...ring.addresses, [area]: 64 }), { code: 'EFAULT' }, area);
    }
  },
);

t.test(
  'B8 T27 used descriptors are logged where they lie, the event area where it is said to be',
  async (t) => {
    const bits = new ArrayBuffer(4096);
    const usedRing = new DirtyLog(new ArrayBufferMapping(bits));
    const ring = new PackedRingMemory(512);
    const { table } = ring.memory();
    const log = { ...NO_LOG, usedRing, usedRingAddress: 0x7000 };
    const from = base(place(510, 1), place(510, 1));
    const queue = PACKED_VIRTQUEUES.create(table, ring.addresses, 512, PLAIN, from, log);
    const pages = () => {
      const bytes = new Uint8Array(bits);
      const found: number[] = [];
      for (let page = 0; page < 8 * 4096; page += 1) {
        if (((bytes[page >> 3] as number) >> (page & 7)) & 1) found.push(page);
      }
      bytes.fill(0);
      return found;
    };
    t.same(pages(), [7], 'attaching asks for kicks');
    ring.move(510);
    const batch = new PacketBatch();
    for (let id = 0; id < 4; id += 1) ring.chain(id, { at: 0, length: 20 });
    transmit(queue, batch);
    queue.completeReadable(batch.heads, 0, 4);
    t.same(pages(), [GUEST_BASE / 4096, GUEST_BASE / 4096 + 1], 'both ends of the ring');
    queue.disableNotifications();
    t.same(pages(), [7]);
  },
);

t.test('a queue that takes the place of another gives back what that one has taken', async (t) => {
  const { ring, memory, queue, batch } = setup(6);
  ring.chain(5, { at: 0, length: 20 }, { at: 0, length: 20 });
  ring.chain(1, { at: 0, length: 20 });
  transmit(queue, batch);
  const next = PACKED_VIRTQUEUES.create(
    memory.table,
    ring.addresses,
    6,
    PLAIN,
    queue.base,
    NO_LOG,
    queue,
  );
  next.completeReadable(Uint32Array.of(1, 5), 0, 2);
  t.same(ring.at(0), { id: 1, length: 0, flags: USED[1] });
  t.same(ring.at(1), { id: 5, length: 0, flags: USED[1] });
  t.equal(next.base, base(place(3, 1), place(3, 1)));
});

t.test('T23 a queue that goes on in place of another knows a used position of 0', async (t) => {
  const ring = new PackedRingMemory(4);
  const { table } = ring.memory();
  const features = { ...NO_FEATURES, packed: true };
  const batch = new PacketBatch();
  const create = (base: number, before?: Virtqueue) =>
    PACKED_VIRTQUEUES.create(table, ring.addresses, 4, features, base, undefined, before);
  const first = create(0x8000_8000);
  for (let id = 0; id < 4; id += 1) ring.chain(id, { at: 100 * id, length: 60 });
  t.equal(first.takeReadable(batch, 4, 12, 0), 4);
  first.completeReadable(batch.heads, 0, 4);
  // In the second round, where the wrap counter is 0, the used half of the base is 0 as well.
  for (let id = 0; id < 3; id += 1) ring.chain(id, { at: 100 * id, length: 60 });
  t.equal(first.takeReadable(batch, 3, 12, 0), 3);
  t.equal(first.base, 3);
  const second = create(first.base, first);
  t.equal(second.base, 3);
  second.completeReadable(batch.heads, 0, 3);
  t.equal(second.base, 0x0003_0003, 'they are used where they were taken');
});
