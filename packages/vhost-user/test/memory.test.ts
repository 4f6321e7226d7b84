import { closeSync, ftruncateSync, openSync, unlinkSync } from 'node:fs';
import { closeFd, createMemfd, socketPair } from '@rxvhost/sys';
import t from 'tap';
import {
  FLAG_NEED_REPLY,
  MEMORY_TABLE,
  type RegionDescription,
  SINGLE_REGION,
  U64,
  VERSION,
  type VhostUserFrontend,
} from '../src/index.js';
import {
  codes,
  FEATURES,
  GUEST_BASE,
  MEMORY_SIZE,
  makeBench,
  memfdMappings,
  memoryRegion,
  negotiate,
  openFds,
  USER_BASE,
} from './support/bench.js';

const NEED_REPLY = VERSION | FLAG_NEED_REPLY;
const SET_MEM_TABLE = 5;
const ADD_MEM_REG = 37;
const PAGE = 4096;

function description(changes: Partial<RegionDescription> = {}): RegionDescription {
  return {
    guestAddress: GUEST_BASE,
    userAddress: USER_BASE,
    size: MEMORY_SIZE,
    mmapOffset: 0,
    ...changes,
  };
}

function neighbours(count: number): RegionDescription[] {
  return Array.from({ length: count }, (_, index) =>
    description({
      guestAddress: GUEST_BASE + index * MEMORY_SIZE,
      userAddress: USER_BASE + index * MEMORY_SIZE,
    }),
  );
}

/** Sends raw payload bytes with any number of descriptors; resolves with the answer's errno. */
async function ask(
  frontend: VhostUserFrontend,
  request: number,
  payload: Uint8Array,
  fds: number[],
): Promise<number> {
  const message = { request, flags: NEED_REPLY, payload, fds, expectReply: true };
  return Number(U64.decode((await frontend.exchange(message)) ?? new Uint8Array(0)));
}

const EINVAL = 22;
const EOVERFLOW = 75;

t.test('a table of regions is mapped, each from its offset in the file', async (t) => {
  const { frontend, device } = await makeBench(t);
  await negotiate(frontend);
  const { fd } = memoryRegion(t);
  const before = openFds();
  const half = MEMORY_SIZE / 2;
  const low = description({ size: half });
  const high = description({
    guestAddress: GUEST_BASE + MEMORY_SIZE,
    userAddress: USER_BASE + half,
    size: half,
    mmapOffset: half,
  });
  await frontend.request('SET_MEM_TABLE', [low, high], [fd, fd]);
  t.equal(openFds(), before, 'every descriptor was closed after mapping');
  t.equal(device.regions.length, 2);
  const [first, second] = device.regions;
  t.equal(second?.guestAddress, GUEST_BASE + MEMORY_SIZE);
  t.equal(second?.userAddress, USER_BASE + half);
  const whole = new Uint8Array(second?.mapping.windows[0] ?? new ArrayBuffer(0));
  whole[0] = 0x5a;
  await frontend.request('SET_MEM_TABLE', [description()], [fd]);
  t.equal(first?.mapping.windows[0]?.byteLength, 0, 'T23 views of the old table are dead');
  const all = new Uint8Array(device.regions[0]?.mapping.windows[0] ?? new ArrayBuffer(0));
  t.equal(all[half], 0x5a);
});

t.test('T25 more than eight regions, or another number of fds, are refused', async (t) => {
  const { frontend, device } = await makeBench(t);
  await negotiate(frontend);
  const { fd } = memoryRegion(t);
  const before = [openFds(), memfdMappings()];
  const table = (count: number) => MEMORY_TABLE.encode(neighbours(count));
  t.equal(await ask(frontend, SET_MEM_TABLE, table(9), Array(8).fill(fd)), EINVAL);
  t.equal(await ask(frontend, SET_MEM_TABLE, table(2), [fd]), EINVAL);
  t.equal(await ask(frontend, SET_MEM_TABLE, table(1), [fd, fd]), EINVAL);
  t.equal(await ask(frontend, SET_MEM_TABLE, table(1), []), EINVAL);
  t.equal(await ask(frontend, ADD_MEM_REG, SINGLE_REGION.encode(description()), []), EINVAL);
  t.equal(await ask(frontend, ADD_MEM_REG, SINGLE_REGION.encode(description()), [fd, fd]), EINVAL);
  t.strictSame([openFds(), memfdMappings()], before, 'nothing is left behind');
  t.equal(device.regions.length, 0);
  t.equal(await ask(frontend, SET_MEM_TABLE, table(8), Array(8).fill(fd)), 0);
  t.equal(device.regions.length, 8);
  t.equal(await ask(frontend, SET_MEM_TABLE, table(0), []), 0, 'no memory at all is a table too');
  t.equal(device.regions.length, 0);
});

t.test('T25 up to 509 regions one by one', async (t) => {
  const { frontend, device } = await makeBench(t);
  await negotiate(frontend);
  t.equal(await frontend.request('GET_MAX_MEM_SLOTS', undefined), 509);
  const { fd } = memoryRegion(t, 0, PAGE);
  const region = (index: number) =>
    description({
      guestAddress: index * PAGE,
      userAddress: USER_BASE + index * PAGE,
      size: PAGE,
    });
  const before = openFds();
  for (let index = 0; index < 509; index += 1) {
    await frontend.request('ADD_MEM_REG', region(index), [fd]);
  }
  t.equal(device.regions.length, 509);
  t.equal(openFds(), before);
  await t.rejects(frontend.request('ADD_MEM_REG', region(509), [fd]), { code: 'ENOBUFS' });
  await frontend.request('REM_MEM_REG', region(100));
  await frontend.request('ADD_MEM_REG', region(509), [fd]);
  t.equal(device.regions.length, 509);
});

t.test('T20 a file shorter than its region is refused', async (t) => {
  const { frontend, device } = await makeBench(t);
  await negotiate(frontend);
  const { fd } = memoryRegion(t);
  const tooLong = description({ size: MEMORY_SIZE + PAGE });
  await t.rejects(frontend.request('SET_MEM_TABLE', [tooLong], [fd]), { code: 'EINVAL' });
  const tooFar = description({ mmapOffset: PAGE });
  await t.rejects(frontend.request('ADD_MEM_REG', tooFar, [fd]), { code: 'EINVAL' });
  const path = `/tmp/vhost-user-memory-${process.pid}`;
  const file = openSync(path, 'w+');
  t.teardown(() => {
    closeSync(file);
    unlinkSync(path);
  });
  await t.rejects(frontend.request('ADD_MEM_REG', description(), [file]), { code: 'EINVAL' });
  ftruncateSync(file, MEMORY_SIZE);
  await frontend.request('ADD_MEM_REG', description(), [file]);
  t.equal(device.regions.length, 1);
});

t.test('what is no memory file is refused', async (t) => {
  const { frontend } = await makeBench(t);
  await negotiate(frontend);
  const [one, other] = socketPair();
  const directory = openSync('/tmp', 'r');
  t.teardown(() => {
    closeFd(one);
    closeFd(other);
    closeSync(directory);
  });
  for (const fd of [one, directory]) {
    await t.rejects(frontend.request('ADD_MEM_REG', description(), [fd]), { code: 'EINVAL' });
  }
});

t.test('T22 numbers that wrap or pass 2^53 are refused without loss', async (t) => {
  const { frontend, device } = await makeBench(t);
  await negotiate(frontend);
  const { fd } = memoryRegion(t);
  const last = Number.MAX_SAFE_INTEGER - ((2 ** 53 - 1) % PAGE); // the last page below 2^53
  const bad: Partial<RegionDescription>[] = [
    { size: 0 },
    { guestAddress: last },
    { userAddress: last },
    { mmapOffset: last },
    { size: Number.MAX_SAFE_INTEGER },
    { guestAddress: GUEST_BASE + 1 },
    { userAddress: USER_BASE + 2048 },
    { mmapOffset: 512, size: PAGE },
  ];
  for (const changes of bad) {
    const payload = SINGLE_REGION.encode(description(changes));
    t.equal(await ask(frontend, ADD_MEM_REG, payload, [fd]), EINVAL, JSON.stringify(changes));
  }
  for (const at of [8, 16, 24, 32]) {
    for (const value of [2n ** 53n, 2n ** 63n, 2n ** 64n - 1n]) {
      const payload = SINGLE_REGION.encode(description());
      new DataView(payload.buffer).setBigUint64(at, value, true);
      t.equal(await ask(frontend, ADD_MEM_REG, payload, [fd]), EOVERFLOW, `${value} at ${at}`);
    }
  }
  t.equal(device.regions.length, 0);
});

t.test('regions that overlap in guest addresses are refused', async (t) => {
  const { frontend, device } = await makeBench(t);
  await negotiate(frontend);
  const { fd } = memoryRegion(t);
  await frontend.request('ADD_MEM_REG', description(), [fd]);
  for (const shift of [-MEMORY_SIZE + PAGE, 0, MEMORY_SIZE - PAGE]) {
    const userAddress = description().userAddress + MEMORY_SIZE;
    const region = description({ guestAddress: GUEST_BASE + shift, userAddress });
    await t.rejects(frontend.request('ADD_MEM_REG', region, [fd]), { code: 'EINVAL' });
  }
  const [one, two] = neighbours(2) as [RegionDescription, RegionDescription];
  await t.rejects(frontend.request('SET_MEM_TABLE', [one, two, one], [fd, fd, fd]), {
    code: 'EINVAL',
  });
  t.equal(device.regions.length, 1, 'a refused table leaves the old one');
});

t.test(
  'a region that QEMU adds for each queue pair stays until the last one takes it away',
  async (t) => {
    const { frontend, device } = await makeBench(t);
    await negotiate(frontend);
    const { fd } = memoryRegion(t);
    const before = openFds();
    const request = (name: 'ADD_MEM_REG' | 'REM_MEM_REG', fds: readonly number[]) =>
      frontend.request(name, description(), fds);
    for (let pair = 0; pair < 4; pair += 1) await request('ADD_MEM_REG', [fd]);
    t.equal(device.regions.length, 1);
    for (let pair = 0; pair < 3; pair += 1) await request('REM_MEM_REG', []);
    t.equal(device.regions.length, 1);
    await request('REM_MEM_REG', []);
    t.equal(device.regions.length, 0);
    await t.rejects(request('REM_MEM_REG', []), { code: 'EINVAL' });
    t.equal(openFds(), before);
  },
);

t.test('T24 a failure in the middle of a table undoes all of it', async (t) => {
  const { frontend, device, errors } = await makeBench(t);
  await negotiate(frontend);
  const { fd } = memoryRegion(t);
  await frontend.request('ADD_MEM_REG', description(), [fd]);
  const short = createMemfd('vhost-user-test', PAGE);
  t.teardown(() => closeFd(short));
  const before = [openFds(), memfdMappings()];
  const table = neighbours(4);
  for (const bad of [0, 1, 2, 3]) {
    const fds = table.map((_, index) => (index === bad ? short : fd));
    await t.rejects(frontend.request('SET_MEM_TABLE', table, fds), { code: 'EINVAL' });
    t.strictSame([openFds(), memfdMappings()], before, `the region at ${bad}`);
  }
  const readOnly = openSync('/proc/self/exe', 'r');
  t.teardown(() => closeSync(readOnly));
  const small = table.map((region) => ({ ...region, size: PAGE }));
  await t.rejects(frontend.request('SET_MEM_TABLE', small, [fd, readOnly, fd, fd]), {
    code: 'EACCES',
  });
  t.strictSame([openFds() - 1, memfdMappings()], before, 'mmap itself fails');
  t.equal(device.regions.length, 1);
  t.ok(device.regions[0]?.mapping.windows[0]?.byteLength, 'the old table stands');
  t.equal(codes(errors).length, 5);
});

t.test('T24 a message with more than eight fds leaves none open', async (t) => {
  const { frontend, errors, server } = await makeBench(t);
  await negotiate(frontend);
  const { fd } = memoryRegion(t);
  const before = openFds();
  const answer = ask(
    frontend,
    SET_MEM_TABLE,
    MEMORY_TABLE.encode(neighbours(8)),
    Array(9).fill(fd),
  );
  await t.rejects(answer, { code: 'ECONNRESET' });
  await server.closed;
  t.match(errors, [{ error: { code: 'EMSGSIZE' } }]);
  t.equal(openFds(), before - 2, 'only the connection’s own two are gone');
});

t.test(
  'T28 REM_MEM_REG: one stray fd is closed, the offset in the file does not count',
  async (t) => {
    const { frontend, device } = await makeBench(t);
    await negotiate(frontend);
    const { fd } = memoryRegion(t);
    const before = [openFds(), memfdMappings()];
    await frontend.request('ADD_MEM_REG', description(), [fd]);
    const remove = (changes: Partial<RegionDescription>, fds: number[]) =>
      frontend.request('REM_MEM_REG', description(changes), fds);
    await t.rejects(remove({ size: PAGE }, []), { code: 'EINVAL' });
    await t.rejects(remove({ userAddress: 0 }, []), { code: 'EINVAL' });
    await t.rejects(remove({}, [fd, fd]), { code: 'EINVAL' });
    t.equal(device.regions.length, 1);
    await remove({ mmapOffset: 8 * PAGE }, [fd]);
    t.equal(device.regions.length, 0);
    t.strictSame([openFds(), memfdMappings()], before);
    await t.rejects(remove({}, []), { code: 'EINVAL' });
    await frontend.request('ADD_MEM_REG', description(), [fd]);
    t.equal(device.regions.length, 1, 'and may be added again');
  },
);

t.test('without CONFIGURE_MEM_SLOTS the client shares a whole table', async (t) => {
  const { frontend, device, trace } = await makeBench(t);
  await negotiate(frontend, FEATURES, 0n);
  await frontend.shareMemory([memoryRegion(t, 0), memoryRegion(t, 1)]);
  await frontend.request('GET_FEATURES', undefined);
  t.equal(device.regions.length, 2);
  t.ok(trace.some(({ request, fds }) => request === 'SET_MEM_TABLE' && fds === 2));
});
