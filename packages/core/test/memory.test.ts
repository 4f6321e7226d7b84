import fc from 'fast-check';
import t from 'tap';
import {
  ArrayBufferMapping,
  GuestMemory,
  type MemoryMapping,
  type MemoryRegion,
  MemoryTable,
  SegmentList,
  UserMemory,
  WINDOW_SIZE,
  WINDOW_STRIDE,
  windowCount,
  windowLength,
} from '../src/index.js';

interface TestMapping extends MemoryMapping {
  releases: number;
}

function mapping(size: number): TestMapping {
  const inner = new ArrayBufferMapping(new ArrayBuffer(size));
  return {
    size,
    windows: inner.windows,
    address: 0,
    releases: 0,
    release() {
      this.releases += 1;
    },
  };
}

/** A mapping of any size whose windows are all the same few bytes: for arithmetic alone. */
function hollow(size: number): MemoryMapping {
  const buffer = new ArrayBuffer(64);
  const windows = Array.from({ length: windowCount(size) }, () => buffer);
  return { size, windows, address: 0, release() {} };
}

const region = (
  guestAddress: number,
  size: number,
  userAddress = guestAddress + 0x7000_0000_0000,
): MemoryRegion & { mapping: TestMapping } => ({
  guestAddress,
  userAddress,
  size,
  mapping: mapping(size),
});

const table = (...regions: MemoryRegion[]) => new MemoryTable(regions, () => {});

t.test('T21 B3 a buffer that spans regions next to each other is cut into pieces', async (t) => {
  const memory = table(region(0x2000, 0x1000), region(0x1000, 0x1000, 0x9000_0000));
  const segments = new SegmentList(8);
  t.equal(memory.translate(0x1ff0, 0x20, segments), 'ok');
  t.same(
    [0, 1].map((s) => [segments.window[s], segments.offset[s], segments.length[s]]),
    [
      [0, 0xff0, 0x10],
      [1, 0, 0x10],
    ],
  );
  t.equal(memory.translate(0x2ff0, 0x20, segments), 'fault', 'past the last region');
  t.equal(segments.count, 2, 'a fault leaves nothing behind');
  t.equal(memory.translate(0x2000, 0, segments), 'ok', 'zero bytes are always accessible');
  t.equal(segments.count, 2);
  const small = new SegmentList(1);
  t.equal(memory.translate(0x1ff0, 0x20, small), 'full');
  t.equal(small.count, 0);
});

t.test('T22 region arithmetic that JavaScript numbers cannot carry is refused', async (t) => {
  const bad: Partial<MemoryRegion>[] = [
    { size: 0 },
    { size: -4096 },
    { guestAddress: 2 ** 53 },
    { guestAddress: 2 ** 53 - 2048, size: 4096 },
    { userAddress: 2 ** 53 - 2048, size: 4096 },
    { size: 2 ** 53 },
    { size: 8192 },
    { mappingOffset: 1 },
    { guestAddress: 0.5 },
  ];
  for (const change of bad) {
    t.throws(() => table({ ...region(0x1000, 4096), ...change }), { code: 'EINVAL' });
  }
  t.throws(() => table(region(0x1000, 4096), region(0x1800, 4096)), { code: 'EINVAL' });
  t.doesNotThrow(
    () => table(region(0x1000, 4096, 0x5000), region(0x8000, 4096, 0x5000)),
    'one block of memory may be seen at two guest addresses',
  );
});

t.test('T26 a region of many GiB is a row of overlapping windows', async (t) => {
  const size = 8 * 2 ** 30 + 4096;
  const memory = table({
    guestAddress: 0x1_0000_0000,
    userAddress: 0x7f00_0000_0000,
    size,
    mapping: hollow(size),
  });
  fc.assert(
    fc.property(fc.integer({ min: 0, max: size - 1 }), fc.nat(WINDOW_STRIDE), (offset, length) => {
      const fits = offset + length <= size;
      const range = memory.findUserRange(0x7f00_0000_0000 + offset, length);
      if (!fits) return range === undefined;
      if (range === undefined) return false;
      return range.window * WINDOW_STRIDE + range.offset === offset && range.offset < WINDOW_SIZE;
    }),
  );
  const segments = new SegmentList(16);
  t.equal(memory.translate(0x1_0000_0000 + size - 2 ** 31, 2 ** 31, segments), 'ok');
  let bytes = 0;
  for (let s = 0; s < segments.count; s += 1) bytes += segments.length[s] as number;
  t.equal(bytes, 2 ** 31);
  t.equal(windowLength(size, windowCount(size) - 1), WINDOW_STRIDE + 4096);
});

t.test('a window stretch of any address shows just that address', async (t) => {
  const size = 3 * WINDOW_STRIDE + 12288;
  const memory = table({
    guestAddress: 0x4000,
    userAddress: 0,
    size,
    mapping: hollow(size + 4096),
    mappingOffset: 4096,
  });
  fc.assert(
    fc.property(fc.integer({ min: 0, max: size - 1 }), (offset) => {
      const stretch = memory.stretchAt(0x4000 + offset);
      if (stretch === undefined) return false;
      const inMapping = offset + 4096;
      const { start, end, window } = stretch;
      const at = 0x4000 + offset;
      return (
        at >= start &&
        at < end &&
        window * WINDOW_STRIDE + stretch.offset + (at - start) === inMapping &&
        stretch.offset + (end - start) <= WINDOW_SIZE
      );
    }),
  );
  t.equal(memory.stretchAt(0x3fff), undefined);
  t.equal(memory.stretchAt(0x4000 + size), undefined);
});

t.test(
  'A5 a memory table is replaced in one step and the old one goes with its last user',
  async (t) => {
    const memory = new GuestMemory();
    const [first, second] = [region(0x1000, 4096), region(0x1000, 4096)];
    memory.replace([first]);
    const held = memory.table.retain();
    memory.replace([second]);
    t.equal(first.mapping.releases, 0, 'somebody still holds the old table');
    t.equal(held.windows.length[0], 4096);
    held.release();
    t.equal(first.mapping.releases, 1);
    t.equal(held.windows.length[0], 0, 'its windows are dead for native code before they go');
    memory.clear();
    t.equal(second.mapping.releases, 1);
  },
);

t.test('A5 T24 too many or bad regions change nothing and leak nothing', async (t) => {
  const memory = new GuestMemory(2);
  const kept = region(0x1000, 4096);
  memory.replace([kept]);
  const many = [region(0x1000, 4096), region(0x2000, 4096), region(0x3000, 4096)];
  t.throws(() => memory.replace(many), { code: 'E2BIG' });
  t.same(
    many.map(({ mapping }) => mapping.releases),
    [1, 1, 1],
  );
  const overlapping = region(0x1800, 4096, 0x9000_0000);
  t.throws(() => memory.add(overlapping), { code: 'EINVAL' });
  t.equal(overlapping.mapping.releases, 1);
  t.equal(kept.mapping.releases, 0);
  t.equal(memory.table.regions.length, 1);
});

t.test('T25 regions come and go one by one', async (t) => {
  const memory = new GuestMemory(509);
  const all = Array.from({ length: 20 }, (_, n) => region(0x1000 * (n + 1), 4096));
  for (const one of all) memory.add(one);
  const victim = all[7] as MemoryRegion & { mapping: TestMapping };
  t.throws(() => memory.remove({ ...victim, size: 8192 }), { code: 'EINVAL' });
  memory.remove(victim);
  t.equal(victim.mapping.releases, 1);
  t.same(
    all.filter((one) => one !== victim).map((one) => one.mapping.releases),
    Array(19).fill(0),
  );
  t.equal(memory.table.stretchAt(0x8000), undefined);
});

t.test('A2 the default table maps each registered user address to itself', async (t) => {
  const user = new UserMemory();
  const inner = mapping(0x3000);
  user.register(0x7f12_0000_0000, inner);
  const [only, ...rest] = user.resolve([
    { guestAddress: 0, userAddress: 0, size: 2 ** 63 },
    { guestAddress: 2 ** 63, userAddress: 2 ** 63, size: 2 ** 63 },
  ]);
  t.equal(rest.length, 0);
  t.match(only, { guestAddress: 0x7f12_0000_0000, userAddress: 0x7f12_0000_0000, size: 0x3000 });
  const [part] = user.resolve([{ guestAddress: 0, userAddress: 0x7f12_0000_1000, size: 0x1000 }]);
  t.match(part, { guestAddress: 0, size: 0x1000, mappingOffset: 0x1000 });
  const memory = new GuestMemory();
  memory.replace(part === undefined ? [] : [part]);
  memory.clear();
  t.equal(inner.releases, 0, 'registered memory stays its owner’s');
  user.forget(0x7f12_0000_0000);
  t.same(user.resolve([{ guestAddress: 0, userAddress: 0, size: 2 ** 63 }]), []);
});
