import {
  ArrayBufferMapping,
  PacketBatch,
  WINDOW_STRIDE,
  WindowTable,
  windowsOf,
} from '@rxvhost/core';
import fc from 'fast-check';
import t from 'tap';
import { copyFrames, NativeCopier } from '../src/index.js';
import {
  batchOf,
  fill,
  framesIn,
  type GuestMemory,
  guestMemory,
  row,
} from './support/guest-memory.js';
import { codeOf } from './support/resources.js';

const MEMORY = 1 << 20;
const EFAULT = -14;

let memory: GuestMemory;
t.before(() => {
  memory = guestMemory(MEMORY);
});
t.teardown(() => {
  memory.mapping.release();
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
