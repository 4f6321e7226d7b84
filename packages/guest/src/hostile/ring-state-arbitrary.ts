import fc from 'fast-check';
import { DESCRIPTOR_NEXT, DESCRIPTOR_WRITE } from '../queue/descriptor-array.js';
import type { HostileDescriptor } from './hostile-queue.js';
import {
  HOSTILE_TABLE_ENTRIES,
  type HostileChain,
  type HostileMemory,
  type RingState,
  type Sabotage,
} from './ring-state.js';

/** What the driver pretends to be: it decides which buffers an honest chain has. */
export type RingPurpose = 'transmit' | 'receive' | 'control';

const LAST_ADDRESS = 2n ** 64n - 1n;

/**
 * Addresses: mostly in a region, often across its end or just before its beginning, sometimes where a
 * 64-bit number or a JavaScript number ends.
 */
export function hostileAddress(memory: HostileMemory): fc.Arbitrary<bigint> {
  const region = fc.constantFrom(...memory.regions);
  const inside = fc
    .tuple(region, fc.nat())
    .map(([{ guestAddress, size }, at]) => BigInt(guestAddress + (at % size)));
  const border = fc
    .tuple(region, fc.integer({ min: -64, max: 2 }), fc.boolean())
    .map(([{ guestAddress, size }, at, end]) => BigInt(guestAddress + (end ? size : 0) + at))
    .filter((address) => address >= 0n);
  const edge = fc.constantFrom(
    0n,
    2n ** 32n - 1n,
    2n ** 53n - 1n,
    2n ** 53n,
    2n ** 53n + 1n,
    2n ** 63n,
    LAST_ADDRESS - 15n,
    LAST_ADDRESS,
  );
  return fc.oneof(
    { arbitrary: inside, weight: 32 },
    { arbitrary: border, weight: 3 },
    { arbitrary: edge, weight: 1 },
    { arbitrary: fc.bigInt({ min: 0n, max: LAST_ADDRESS }), weight: 1 },
  );
}

/** Lengths: mostly of frames, often around the net header's, sometimes zero, huge or about to wrap. */
export const hostileLength: fc.Arbitrary<number> = fc.oneof(
  { arbitrary: fc.nat(2048), weight: 24 },
  { arbitrary: fc.constantFrom(0, 0, 1, 9, 10, 11, 12, 13, 16, 32), weight: 4 },
  {
    arbitrary: fc.constantFrom(0x1_0000, 0x7fff_ffff, 0x8000_0000, 0xffff_fff0, 0xffff_ffff),
    weight: 1,
  },
  { arbitrary: fc.nat(0xffff_ffff), weight: 1 },
);

/** Flags: sensible ones, or any. */
export const wildFlags = fc.oneof(fc.nat(7), fc.nat(0xffff));

/** Indices: mostly in a ring of `size`, sometimes just outside it, or anything. */
export function wildIndex(size: number): fc.Arbitrary<number> {
  return fc.oneof(
    { arbitrary: fc.nat(size - 1), weight: 4 },
    { arbitrary: fc.constantFrom(size, size + 1, 0x7fff, 0x8000, 0xffff), weight: 1 },
    { arbitrary: fc.nat(0xffff), weight: 1 },
  );
}

/** A chain as an honest driver lays it out, but for where its buffers lie. */
export function hostileChain(
  memory: HostileMemory,
  purpose: RingPurpose,
): fc.Arbitrary<HostileChain> {
  const buffer = fc.tuple(hostileAddress(memory), hostileLength);
  const table = fc.oneof(
    { arbitrary: fc.constant(undefined), weight: 2 },
    { arbitrary: fc.nat(memory.tables.length), weight: 1 },
  );
  return fc
    .tuple(fc.array(buffer, { minLength: 1, maxLength: 5 }), table, fc.nat(19))
    .map(([buffers, table, oddity]) => {
      const descriptors = buffers.map(([address, wanted], at): HostileDescriptor => {
        // A command has its answer in the last buffer.
        const answer = purpose === 'control' && at > 0 && at + 1 === buffers.length;
        const write = purpose === 'receive' || answer;
        // One chain in twenty begins with a buffer of the other direction, one is all empty.
        const writable = oddity === 0 && at === 0 ? !write : write;
        const length = oddity === 1 ? 0 : wanted;
        const more = at + 1 < buffers.length ? DESCRIPTOR_NEXT : 0;
        const flags = (writable ? DESCRIPTOR_WRITE : 0) | more;
        return { address, length, flags, next: more === 0 ? 0 : at + 1 };
      });
      return { descriptors, table };
    });
}

/** One field of ring memory, overwritten with anything. */
export function hostileSabotage(memory: HostileMemory, size: number): fc.Arbitrary<Sabotage> {
  const fields = fc.oneof(
    fc.record({ address: hostileAddress(memory) }),
    fc.record({ length: hostileLength }),
    fc.record({ flags: wildFlags }),
    fc.record({ next: wildIndex(size) }),
    // What loops are made of; one of empty buffers meets no other limit than that on its length.
    fc.record({ flags: fc.constantFrom(DESCRIPTOR_NEXT, 3), next: fc.nat(size - 1) }),
    fc.record({
      length: fc.constant(0),
      flags: fc.constantFrom(DESCRIPTOR_NEXT, 3),
      next: fc.nat(size - 1),
    }),
  );
  const word = fc.nat(0xffff);
  const target = <const T extends string>(name: T) => fc.constant(name);
  return fc.oneof(
    {
      arbitrary: fc.record({ target: target('descriptor'), index: fc.nat(size - 1), fields }),
      weight: 8,
    },
    {
      arbitrary: fc.record({
        target: target('table'),
        table: fc.nat(memory.tables.length),
        index: fc.nat(HOSTILE_TABLE_ENTRIES - 1),
        fields,
      }),
      weight: 4,
    },
    {
      arbitrary: fc.record({
        target: target('head'),
        position: fc.nat(size - 1),
        value: wildIndex(size),
      }),
      weight: 3,
    },
    {
      arbitrary: fc.record({
        target: target('available index'),
        jump: fc.oneof(fc.nat(size), fc.constantFrom(size + 1, 0x8000, 0xffff), word),
      }),
      weight: 2,
    },
    { arbitrary: fc.record({ target: target('available flags'), value: wildFlags }), weight: 1 },
    { arbitrary: fc.record({ target: target('used event'), value: word }), weight: 1 },
    { arbitrary: fc.record({ target: target('used index'), value: word }), weight: 1 },
    { arbitrary: fc.record({ target: target('used flags'), value: word }), weight: 1 },
    { arbitrary: fc.record({ target: target('avail event'), value: word }), weight: 1 },
  );
}

/**
 * Ring states that are honest in most places, so that the device follows them a good way before it
 * meets what is wrong: chains laid out properly over buffers in, out and at the edge of memory, then
 * up to four fields overwritten, and up to three more while the device works.
 * @param size - entries in the ring
 */
export function hostileRingState(
  memory: HostileMemory,
  size: number,
  purpose: RingPurpose,
): fc.Arbitrary<RingState> {
  const sabotage = hostileSabotage(memory, size);
  return fc.record({
    start: fc.nat(size - 1),
    chains: fc.array(hostileChain(memory, purpose), { maxLength: 4 }),
    before: fc.oneof(fc.constant([]), fc.array(sabotage, { maxLength: 4 })),
    during: fc.array(sabotage, { maxLength: 3 }),
  });
}
