import {
  ArrayBufferMapping,
  PacketBatch,
  PlainCopier,
  WINDOW_STRIDE,
  WindowTable,
  windowsOf,
} from '@rxvhost/core';
import fc from 'fast-check';
import t from 'tap';
import { copyFrames, NativeCopier } from '../src/index.js';
import {
  batchOf,
  framesIn,
  type GuestMemory,
  guestMemory,
  type Pieces,
  row,
} from './support/guest-memory.js';
import { codeOf } from './support/resources.js';

const MEMORY = 1 << 20;
const EFAULT = -14;

/** Chains whose pieces lie one after the other, with gaps, so that none overlap. */
const chains = (least: number) =>
  fc
    .array(fc.array(fc.tuple(fc.nat(40), fc.nat(300)), { maxLength: 5 }), {
      minLength: least,
      maxLength: 24,
    })
    .map((drawn): Pieces[] => {
      let at = 0;
      return drawn.map((pieces) =>
        pieces.map(([gap, length]) => {
          const offset = at + gap;
          at = offset + length;
          return [offset, length] as const;
        }),
      );
    });

/** Chains that all have at least `skip` bytes. */
function long(drawn: readonly Pieces[], skip: number): Pieces[] {
  return drawn.filter((pieces) => pieces.reduce((sum, [, length]) => sum + length, 0) >= skip);
}

function fill(bytes: Uint8Array, seed: number): void {
  let state = seed | 1;
  for (let i = 0; i < bytes.length; i += 1) {
    state = (Math.imul(state, 1103515245) + 12345) | 0;
    bytes[i] = state >>> 16;
  }
}

let memory: GuestMemory;
let twin: GuestMemory;
t.before(() => {
  memory = guestMemory(MEMORY);
  twin = guestMemory(MEMORY);
});
t.teardown(() => {
  memory.mapping.release();
  twin.mapping.release();
});

t.test('gather does what PlainCopier does, whatever the chains', async (t) => {
  const plain = new PlainCopier();
  const native = new NativeCopier();
  fill(memory.bytes, 99);
  fc.assert(
    fc.property(
      chains(0),
      fc.constantFrom(0, 10, 12, 37),
      fc.nat(3),
      fc.nat(4000),
      fc.nat(64),
      (drawn, skip, first, room, at) => {
        const usable = long(drawn, skip);
        const one = batchOf(memory, skip, usable);
        const other = batchOf(memory, skip, usable);
        const expected = new Uint8Array(room + at).fill(0xee);
        const actual = new Uint8Array(room + at).fill(0xee);
        const start = Math.min(first, one.count);
        const count = plain.gather(one, start, expected, at);
        if (native.gather(other, start, actual, at) !== count) return false;
        if (!Buffer.from(actual).equals(Buffer.from(expected))) return false;
        return other.results.every((result, i) => result === one.results[i]);
      },
    ),
    { numRuns: 400 },
  );
  t.pass('held for every case');
});

t.test(
  'scatter does what PlainCopier does, mergeable buffers and oversized frames included',
  async (t) => {
    const plain = new PlainCopier();
    const native = new NativeCopier();
    const source = new Uint8Array(40_000);
    fill(source, 7);
    fc.assert(
      fc.property(
        chains(0),
        fc.constantFrom(0, 10, 12),
        fc.integer({ min: 1, max: 6 }),
        fc.array(fc.nat(700), { maxLength: 20 }),
        fc.nat(100),
        (drawn, skip, chainsPerFrame, lengths, at) => {
          const usable = long(drawn, skip);
          memory.bytes.fill(0xee, 0, 64 * 1024);
          twin.bytes.fill(0xee, 0, 64 * 1024);
          const one = batchOf(memory, skip, usable);
          const other = batchOf(twin, skip, usable);
          one.chainsPerFrame = chainsPerFrame;
          other.chainsPerFrame = chainsPerFrame;
          const sizes = Uint32Array.from([0, ...lengths]);
          const half = lengths.length >> 1;
          // In two calls, so that the second finds frames in the batch.
          const bytes = lengths.slice(0, half).reduce((a, b) => a + b, 0);
          const counts = [plain, native].map((copier, i) => {
            const batch = i === 0 ? one : other;
            return [
              copier.scatter(batch, source, at, sizes, 1, half),
              copier.scatter(batch, source, at + bytes, sizes, 1 + half, lengths.length - half),
            ];
          });
          const same =
            counts[0]?.join() === counts[1]?.join() &&
            one.frameCount === other.frameCount &&
            one.oversized === other.oversized &&
            one.frameLengths.join() === other.frameLengths.join() &&
            one.frameChains.join() === other.frameChains.join();
          const end = 64 * 1024;
          return (
            same && Buffer.from(memory.bytes.subarray(0, end)).equals(twin.bytes.subarray(0, end))
          );
        },
      ),
      { numRuns: 400 },
    );
  },
);

t.test('copyFrames delivers what gather and scatter in two steps would', async (t) => {
  const plain = new PlainCopier();
  const target = guestMemory(MEMORY);
  fill(memory.bytes, 5);
  fc.assert(
    fc.property(
      chains(0),
      chains(0),
      fc.constantFrom(0, 12),
      fc.constantFrom(0, 10),
      fc.integer({ min: 1, max: 4 }),
      (sent, space, fromSkip, toSkip, chainsPerFrame) => {
        twin.bytes.fill(0xee, 0, 64 * 1024);
        target.bytes.fill(0xee, 0, 64 * 1024);
        const from = batchOf(memory, fromSkip, long(sent, fromSkip));
        const to = batchOf(target, toSkip, long(space, toSkip));
        const expected = batchOf(twin, toSkip, long(space, toSkip));
        to.chainsPerFrame = chainsPerFrame;
        expected.chainsPerFrame = chainsPerFrame;
        const flat = new Uint8Array(64 * 1024);
        plain.gather(from, 0, flat, 0);
        const lengths = Uint32Array.from(from.results);
        const count = plain.scatter(expected, flat, 0, lengths, 0, from.count);
        from.results.fill(0);
        const copied = copyFrames(from, 0, to);
        return (
          copied === count &&
          to.oversized === expected.oversized &&
          to.frameLengths.join() === expected.frameLengths.join() &&
          from.results.subarray(0, copied).join() === lengths.subarray(0, copied).join() &&
          Buffer.from(target.bytes.subarray(0, 64 * 1024)).equals(twin.bytes.subarray(0, 64 * 1024))
        );
      },
    ),
    { numRuns: 400 },
  );
  t.pass('held for every case');
  t.pass('held for every case');
  target.mapping.release();
});

t.test('every length from 0 to 300 bytes is copied exactly, at any alignment', async (t) => {
  const native = new NativeCopier();
  fill(memory.bytes, 3);
  const out = new Uint8Array(400);
  for (let length = 0; length <= 300; length += 1) {
    const offset = 1000 + (length % 17);
    const batch = batchOf(memory, 0, [[[offset, length]]]);
    out.fill(0xee);
    native.gather(batch, 0, out, length % 5);
    const want = new Uint8Array(400).fill(0xee);
    want.set(memory.bytes.subarray(offset, offset + length), length % 5);
    if (!Buffer.from(out).equals(Buffer.from(want))) t.fail(`length ${length}`);
  }
  t.pass();
});

t.test('a frame at the very end of memory is copied, one byte further is EFAULT', async (t) => {
  const batch = batchOf(memory, 12, [
    [[MEMORY - 76, 76]],
    [[MEMORY - 75, 76]],
    [
      [0, 12],
      [MEMORY - 64, 65],
    ],
    [
      [0, 12],
      [0xffff_ffff, 0xffff_ffff],
    ],
    [[0, 100]],
  ]);
  batch.lengths[3] = 76;
  const out = new Uint8Array(1024);
  t.equal(new NativeCopier().gather(batch, 0, out, 0), 5);
  t.same([...batch.results], [64, EFAULT, EFAULT, EFAULT, 88]);
});

t.test(
  'segments of a window that does not exist, and indices outside the batch, are EFAULT',
  async (t) => {
    const batch = batchOf(memory, 0, row(4, 64, 64), 4);
    batch.segments.window[0] = 1;
    batch.segments.window[1] = 0xffff_ffff;
    batch.firstSegment[3] = 0x7fff_ffff;
    t.equal(new NativeCopier().gather(batch, 0, new Uint8Array(1024), 0), 4);
    t.same([...batch.results], [EFAULT, EFAULT, EFAULT, EFAULT]);
    const space = batchOf(memory, 0, row(2, 64, 64));
    space.segments.window[1] = 9;
    const lengths = Uint32Array.of(10, 10);
    t.equal(
      new NativeCopier().scatter(space, new Uint8Array(20), 0, lengths, 0, 2),
      1,
      'receiving stops before it',
    );
    t.equal(space.frameCount, 1);
  },
);

t.test('a batch with any numbers in it is followed nowhere', async (t) => {
  const any = fc.nat(0xffff_ffff);
  const native = new NativeCopier();
  fc.assert(
    fc.property(
      fc.array(any, { minLength: 60, maxLength: 60 }),
      fc.array(fc.nat(0x2_0000), { minLength: 60, maxLength: 60 }),
      any,
      fc.nat(2000),
      fc.boolean(),
      (wild, tame, skip, chainsPerFrame, wilder) => {
        const batch = new PacketBatch(8, 12);
        const numbers = wilder ? wild : tame;
        batch.reset(memory.table, wilder ? skip : skip & 15);
        batch.count = 8;
        batch.chainsPerFrame = chainsPerFrame;
        batch.frameCount = wilder ? (wild[0] as number) % 12 : 0;
        batch.firstSegment.set(numbers.slice(0, 9).map((n) => (wilder ? n : n % 13)));
        batch.lengths.set(numbers.slice(9, 17));
        batch.segments.window.set(numbers.slice(17, 29).map((n) => (wilder ? n : 0)));
        batch.segments.offset.set(numbers.slice(29, 41));
        batch.segments.length.set(numbers.slice(41, 53));
        batch.frameChains.set(numbers.slice(0, 8));
        const out = new Uint8Array(4096);
        native.gather(batch, 0, out, 0);
        native.scatter(batch, out, 0, Uint32Array.of(60, 1500, 64), 0, 3);
        batch.frameCount = 0;
        const other = batchOf(memory, 0, row(8, 64, 64));
        copyFrames(batch, 0, other);
        copyFrames(other, 0, batch);
        return true;
      },
    ),
    { numRuns: 2000 },
  );
  t.pass('alive');
});

t.test("frames that pass the end of the source are the caller's fault", async (t) => {
  const batch = batchOf(memory, 0, row(2, 64, 64));
  const copier = new NativeCopier();
  t.equal(
    codeOf(() => copier.scatter(batch, new Uint8Array(19), 0, Uint32Array.of(10, 10), 0, 2)),
    'EINVAL',
  );
  t.equal(
    codeOf(() => copier.scatter(batch, new Uint8Array(20), 0, Uint32Array.of(10, 10), 1, 2)),
    'EINVAL',
  );
  t.equal(
    codeOf(() => copier.gather(batch, 0, new Uint8Array(20), 21)),
    'EINVAL',
  );
  t.equal(
    codeOf(() => copyFrames(batch, 0, batch)),
    'EINVAL',
  );
});

t.test('plain JavaScript memory, which native code cannot reach, works as well', async (t) => {
  const mapping = new ArrayBufferMapping(new ArrayBuffer(4096));
  const table = new WindowTable(windowsOf(mapping, WINDOW_STRIDE));
  const plain: GuestMemory = { mapping, table, bytes: table.bytes(0) };
  fill(plain.bytes, 11);
  const batch = batchOf(plain, 0, row(3, 64, 64));
  const out = new Uint8Array(192);
  t.equal(new NativeCopier().gather(batch, 0, out, 0), 3);
  t.same([...out], [...plain.bytes.subarray(0, 192)]);
  const to = batchOf(memory, 0, row(2, 64, 64));
  t.equal(copyFrames(batch, 0, to), 2, 'full after two');
  t.same(framesIn(to)[1], plain.bytes.subarray(64, 128));
});
