import assert from 'node:assert/strict';
import fc from 'fast-check';
import t from 'tap';
import {
  ArrayBufferMapping,
  GuestMemory,
  INITIAL_PACKED_BASE,
  NO_FEATURES,
  PACKED_VIRTQUEUES,
  PacketBatch,
  SPLIT_VIRTQUEUES,
  type Virtqueue,
} from '../src/index.js';
import { PackedRingMemory } from './support/packed-ring-memory.js';
import { type RawDescriptor, RingMemory } from './support/ring-memory.js';

const SIZE = 16;
const MEMORY = 0x2_0000;
const WORD = 0x1_0000_0000;
/** Bytes that a chain to send must have: a header, and one more. */
const HEADER = 12;
const MINIMUM = HEADER + 1;
/** Regions of memory that begin, or end, or both, beside a multiple of 2^32, or go across one. */
const BEGINNINGS = [0, WORD - MEMORY / 2, WORD - MEMORY, WORD, 3 * WORD - 0x1000, 0x7fff_f000];

/** A descriptor: how far into the region, how many times 2^32 past it, and its length. */
interface Buffer {
  readonly at: number;
  readonly words: number;
  readonly length: number;
}

const anyBuffer: fc.Arbitrary<Buffer> = fc.record({
  at: fc.oneof(
    fc.integer({ min: 0, max: MEMORY - 1 }),
    fc.integer({ min: -8, max: 8 }),
    fc.integer({ min: MEMORY - 64, max: MEMORY + 8 }),
    fc.constant(MEMORY / 2),
  ),
  words: fc.oneof({ weight: 8, arbitrary: fc.constant(0) }, fc.integer({ min: -1, max: 3 })),
  length: fc.oneof(
    { weight: 4, arbitrary: fc.integer({ min: MINIMUM, max: 64 }) },
    fc.integer({ min: 0, max: MEMORY + 1 }),
    fc.constantFrom(0, MINIMUM - 1, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff),
  ),
});

const addressOf = (start: number, { at, words }: Buffer) => start + at + words * WORD;

/** Whether a buffer lies in the region, and is long enough. */
function isGood(start: number, buffer: Buffer): boolean {
  const address = addressOf(start, buffer);
  return buffer.length >= MINIMUM && address >= start && address + buffer.length <= start + MEMORY;
}

function memoryFrom(ring: RingMemory, guestAddress: number): GuestMemory {
  const mapping = new ArrayBufferMapping(ring.buffer);
  const memory = new GuestMemory();
  memory.replace([{ ...ring.region, guestAddress, mapping }]);
  return memory;
}

function splitQueue(start: number, descriptors: readonly RawDescriptor[]): Virtqueue {
  const ring = new RingMemory(SIZE, MEMORY);
  for (const [index, descriptor] of descriptors.entries()) {
    ring.descriptor(index, descriptor);
    ring.offer(index);
  }
  const { table } = memoryFrom(ring, start);
  return SPLIT_VIRTQUEUES.create(table, ring.addresses, SIZE, NO_FEATURES, 0);
}

function packedQueue(start: number, descriptors: readonly RawDescriptor[]): Virtqueue {
  const ring = new PackedRingMemory(SIZE, MEMORY);
  for (const [id, descriptor] of descriptors.entries()) ring.chain(id, descriptor);
  const { table } = memoryFrom(ring, start);
  const features = { ...NO_FEATURES, packed: true };
  return PACKED_VIRTQUEUES.create(table, ring.addresses, SIZE, features, INITIAL_PACKED_BASE);
}

for (const [layout, queueOf] of [
  ['split', splitQueue],
  ['packed', packedQueue],
] as const) {
  t.test(
    `B1 T34 T36 the plain chains of a ${layout} ring are taken up to the first that is not in memory`,
    async (t) => {
      const property = fc.property(
        fc.constantFrom(...BEGINNINGS),
        fc.array(anyBuffer, { minLength: 1, maxLength: SIZE }),
        (start, buffers) => {
          const wanted = buffers.filter((buffer) => addressOf(start, buffer) >= 0);
          const descriptors = wanted.map((buffer) => ({
            at: BigInt(addressOf(start, buffer)),
            absolute: true,
            length: buffer.length,
          }));
          const queue = queueOf(start, descriptors);
          const batch = new PacketBatch();
          const bad = wanted.findIndex((buffer) => !isGood(start, buffer));
          const good = wanted.slice(0, bad < 0 ? wanted.length : bad);
          assert.equal(queue.takeReadable(batch, SIZE, HEADER, 0), good.length);
          assert.equal(queue.fault !== undefined, bad >= 0);
          const { offset, length, count } = batch.segments;
          assert.deepEqual(
            [...offset.subarray(0, count)],
            good.map(({ at, words }) => at + words * WORD),
          );
          assert.deepEqual(
            [...length.subarray(0, count)],
            good.map((buffer) => buffer.length),
          );
          assert.deepEqual(
            [...batch.lengths.subarray(0, count)],
            good.map((buffer) => buffer.length),
          );
          assert.deepEqual([...batch.heads.subarray(0, count)], [...good.keys()]);
          assert.deepEqual(
            [...batch.firstSegment.subarray(0, count + 1)],
            [...good.keys(), good.length],
          );
        },
      );
      fc.assert(property, { numRuns: 2000 });
      t.pass('no counterexample');
    },
  );

  t.test(`T43 a take from a ${layout} ring never gives more chains than it may`, async (t) => {
    const property = fc.property(
      fc.integer({ min: 0, max: SIZE }),
      fc.array(fc.integer({ min: 1, max: SIZE }), { minLength: SIZE, maxLength: SIZE }),
      (offered, limits) => {
        const buffers = Array.from({ length: offered }, (_, index) => ({
          at: 64 * index,
          length: MINIMUM + index,
        }));
        const queue = queueOf(
          0,
          buffers.map((buffer) => ({ ...buffer, absolute: true })),
        );
        const batch = new PacketBatch();
        let left = offered;
        for (const limit of limits) {
          const taken = queue.takeReadable(batch, limit, HEADER, 0);
          assert.equal(taken, Math.min(limit, left));
          const { offset, count } = batch.segments;
          const wanted = buffers.slice(offered - left, offered - left + taken);
          assert.deepEqual(
            [...offset.subarray(0, count)],
            wanted.map(({ at }) => at),
          );
          left -= taken;
        }
      },
    );
    fc.assert(property, { numRuns: 500 });
    t.pass('no counterexample');
  });
}

t.test('T39 what stands behind the end of a packed ring is no descriptor of it', async (t) => {
  const ring = new PackedRingMemory(SIZE, MEMORY);
  ring.move(SIZE - 2);
  const place = ring.position | 0x8000;
  for (let id = 0; id < 5; id += 1) ring.chain(id, { at: 64 * id, length: MINIMUM });
  for (let behind = 0; behind < SIZE; behind += 1) {
    ring.entry(SIZE + behind, { at: 0, length: MINIMUM, id: 15, flags: 0x80 });
  }
  const features = { ...NO_FEATURES, packed: true };
  const base = place + place * 0x1_0000;
  const { table } = ring.memory();
  const queue = PACKED_VIRTQUEUES.create(table, ring.addresses, SIZE, features, base);
  const batch = new PacketBatch();
  t.equal(queue.takeReadable(batch, SIZE, HEADER, 0), 5);
  t.same([...batch.heads.subarray(0, 5)], [0, 1, 2, 3, 4]);
});
