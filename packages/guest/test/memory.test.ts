import { ArrayBufferMapping } from '@rxvhost/core';
import fc from 'fast-check';
import t from 'tap';
import { ExtentAllocator, GuestMemoryArena } from '../src/index.js';
import { plainRegion } from './support/arena.js';

t.test('allocations are aligned, inside, apart, and all come back', async (t) => {
  const step = fc.oneof(
    fc.record({ take: fc.integer({ min: 1, max: 300 }), shift: fc.nat(7) }),
    fc.record({ give: fc.nat() }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
      const allocator = new ExtentAllocator(48, 4096);
      const taken: { start: number; end: number }[] = [];
      for (const one of steps) {
        if ('give' in one) {
          const [gone] = taken.splice(one.give % Math.max(taken.length, 1), 1);
          if (gone !== undefined && !allocator.release(gone.start)) throw new Error('not released');
          continue;
        }
        const start = allocator.allocate(one.take, 1 << one.shift);
        if (start === undefined) continue;
        const end = start + one.take;
        if (start % (1 << one.shift) !== 0 || start < 48 || end > 4096)
          throw new Error('misplaced');
        if (taken.some((other) => start < other.end && other.start < end))
          throw new Error('overlap');
        taken.push({ start, end });
      }
      for (const { start } of taken) allocator.release(start);
      return allocator.freeBytes === 4048 && allocator.allocate(4048, 16) === 48;
    }),
  );
  t.pass();
});

t.test('an arena keeps guest and user addresses apart', async (t) => {
  const low = plainRegion(0x1000, 0x7f00_0000_0000, 0x1000);
  const high = plainRegion(2 ** 40, 0x5500_0000_0000, 0x2000);
  const arena = new GuestMemoryArena([high, low]);
  t.equal(arena.userAddress(0x1010), 0x7f00_0000_0010);
  t.equal(arena.userAddress(2 ** 40 + 5), 0x5500_0000_0005);
  t.equal(arena.regionOf(0x1fff), low);
  t.equal(arena.regionOf(0x1fff, 2), undefined);
  for (const address of [0xfff, 0x2000, 0x7f00_0000_0000]) {
    t.throws(() => arena.userAddress(address), { code: 'EFAULT' }, `${address}`);
  }
  t.equal(arena.allocate(0x1800, 64), 2 ** 40, 'too large for the first region');
  t.throws(() => arena.allocate(0x1800), { code: 'ENOMEM' });
  t.equal(arena.allocateAt(0x1ff0, 16), 0x1ff0);
  t.throws(() => arena.allocateAt(0x1fff, 1), { code: 'ENOMEM' }, 'taken already');
  t.throws(() => arena.allocate(16, 16, 7), { code: 'ENOMEM' }, 'no such region');
  arena.release(0x1ff0);
  t.throws(() => arena.release(0x1ff0), { code: 'EINVAL' });
});

t.test('values are little-endian, and copies may span regions that touch', async (t) => {
  const mapping = new ArrayBufferMapping(new ArrayBuffer(0x3000));
  const arena = new GuestMemoryArena([
    { guestAddress: 0x1000, userAddress: 0x9000, size: 0x800, mapping, mappingOffset: 0x1000 },
    { guestAddress: 0x1800, userAddress: 0x4000, size: 0x800, mapping, mappingOffset: 0 },
  ]);
  arena.writeUint64(0x1001, 0x0102030405060708n);
  t.strictSame([...arena.read(0x1001, 8)], [8, 7, 6, 5, 4, 3, 2, 1]);
  t.equal(new Uint8Array(mapping.windows[0] as ArrayBuffer)[0x1001], 8, 'the offset counts');
  t.equal(arena.readUint64(0x1001), 0x0102030405060708n);
  t.equal(arena.readUint32(0x1001), 0x05060708);
  t.equal(arena.readUint16(0x1002), 0x0607);
  arena.write(0x17fe, Uint8Array.of(1, 2, 3, 4));
  t.strictSame([...arena.read(0x17fc, 8)], [0, 0, 1, 2, 3, 4, 0, 0]);
  t.strictSame([...arena.bytes(0x1800, 2)], [3, 4]);
  t.throws(() => arena.bytes(0x17fe, 4), { code: 'EFAULT' }, 'no view over two regions');
  t.throws(() => arena.read(0x1ffe, 4), { code: 'EFAULT' }, 'no memory behind');
});

t.test('regions that cannot be are refused', async (t) => {
  const region = plainRegion(0x1000, 0x9000, 0x1000);
  for (const [what, regions] of [
    ['overlap', [region, plainRegion(0x1ff0, 0x20000, 0x1000)]],
    ['unaligned', [plainRegion(0x1001, 0x9000, 0x1000)]],
    ['past 2^53', [{ ...region, guestAddress: Number.MAX_SAFE_INTEGER - 15 }]],
  ] as const) {
    t.throws(() => new GuestMemoryArena(regions), { code: 'EINVAL' }, what);
  }
});
