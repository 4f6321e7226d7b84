import { PlainCopier } from '@rxvhost/core';
import fc from 'fast-check';
import t from 'tap';
import { copyFrames, NativeCopier } from '../src/index.js';
import {
  batchOf,
  fill,
  type GuestMemory,
  guestMemory,
  type Pieces,
} from './support/guest-memory.js';

const MEMORY = 1 << 20;

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
        fc.boolean(),
        (drawn, skip, chainsPerFrame, lengths, at, largest) => {
          const usable = long(drawn, skip);
          memory.bytes.fill(0xee, 0, 64 * 1024);
          twin.bytes.fill(0xee, 0, 64 * 1024);
          const one = batchOf(memory, skip, usable);
          const other = batchOf(twin, skip, usable);
          one.chainsPerFrame = chainsPerFrame;
          other.chainsPerFrame = chainsPerFrame;
          one.largest = largest;
          other.largest = largest;
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
            one.wantsMore === other.wantsMore &&
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
    t.pass('held for every case');
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
      fc.boolean(),
      (sent, space, fromSkip, toSkip, chainsPerFrame, largest) => {
        twin.bytes.fill(0xee, 0, 64 * 1024);
        target.bytes.fill(0xee, 0, 64 * 1024);
        const from = batchOf(memory, fromSkip, long(sent, fromSkip));
        const to = batchOf(target, toSkip, long(space, toSkip));
        const expected = batchOf(twin, toSkip, long(space, toSkip));
        to.chainsPerFrame = chainsPerFrame;
        expected.chainsPerFrame = chainsPerFrame;
        to.largest = largest;
        expected.largest = largest;
        const flat = new Uint8Array(64 * 1024);
        plain.gather(from, 0, flat, 0);
        const lengths = Uint32Array.from(from.results);
        const count = plain.scatter(expected, flat, 0, lengths, 0, from.count);
        from.results.fill(0);
        const copied = copyFrames(from, 0, to);
        return (
          copied === count &&
          to.oversized === expected.oversized &&
          to.wantsMore === expected.wantsMore &&
          to.frameLengths.join() === expected.frameLengths.join() &&
          from.results.subarray(0, copied).join() === lengths.subarray(0, copied).join() &&
          Buffer.from(target.bytes.subarray(0, 64 * 1024)).equals(twin.bytes.subarray(0, 64 * 1024))
        );
      },
    ),
    { numRuns: 400 },
  );
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
