import t from 'tap';
import {
  ArrayBufferMapping,
  BackendChain,
  BackendRefusal,
  type ErrnoName,
  type EventPort,
  FEATURE,
  INT,
  LOG_PAGE,
  LocalEvent,
  MEMORY_HEADER,
  MEMORY_REGION,
  NET_REQUESTS,
  U64,
  VhostError,
  VhostNet,
  VRING_ADDRESS,
  VRING_FILE,
  VRING_STATE,
} from '../src/index.js';
import { FakeSocket, frame } from './support/nic.js';
import { memoryTable, requester } from './support/requests.js';
import { GUEST_BASE, RingMemory, USER_BASE } from './support/ring-memory.js';

const R = NET_REQUESTS;
/** The backend, the eventfds and the other files that the tests have open. */
const BACKEND_FD = 7;
const EVENT_FDS = [20, 21, 22, 23, 24, 25];
const REGULAR_FILE = 5;
const TRANSMIT_SHIFT = 0x100_0000;

/** A NIC that has only what the request interface gives it, with both rings' memory registered. */
function makeNic(t: { teardown(end: () => Promise<void>): void }) {
  const socket = new FakeSocket();
  const rings = [new RingMemory(8), new RingMemory(8)] as const;
  const events = new Map(EVENT_FDS.map((fd) => [fd, new LocalEvent()]));
  const opened: number[] = [];
  const providers = new BackendChain([
    {
      name: 'fake',
      open: (fd) =>
        fd === BACKEND_FD ? socket : new BackendRefusal(new VhostError('ENOTSOCK', 'no backend')),
    },
  ]);
  const eventPort = (fd: number): EventPort => {
    opened.push(fd);
    const event = events.get(fd);
    if (event !== undefined) return event;
    throw new VhostError(fd === REGULAR_FILE ? 'EINVAL' : 'EBADF', `fd ${fd}`);
  };
  const nic = new VhostNet({ providers, eventPort });
  t.teardown(() => nic.close());
  for (const [index, ring] of rings.entries()) {
    nic.userMemory.register(
      USER_BASE + index * TRANSMIT_SHIFT,
      new ArrayBufferMapping(ring.buffer),
    );
  }
  const regions = rings.map((ring, index) => ({
    guestAddress: GUEST_BASE + index * TRANSMIT_SHIFT,
    userAddress: USER_BASE + index * TRANSMIT_SHIFT,
    size: ring.buffer.byteLength,
  }));
  const addresses = (index: number, change: Partial<Record<string, bigint>> = {}) => {
    const { descriptorTable, usedRing, availableRing } = rings[0].addresses;
    const at = (address: number) => BigInt(address + index * TRANSMIT_SHIFT);
    return {
      index,
      flags: 0,
      descriptors: at(descriptorTable),
      used: at(usedRing),
      available: at(availableRing),
      log: 0n,
      ...change,
    };
  };
  return { nic, socket, rings, events, opened, regions, addresses, ...requester(nic) };
}

type Nic = ReturnType<typeof makeNic>;

/** Owner, memory and both queues' size, addresses and eventfds: all but the backend. */
async function setUp({ send, regions, addresses }: Nic, features = 0n): Promise<string[]> {
  const answers = [
    await send(R.SET_OWNER),
    await send(R.SET_FEATURES, U64, features),
    await send(R.SET_MEM_TABLE, memoryTable(regions)),
  ];
  for (const index of [0, 1]) {
    answers.push(
      await send(R.SET_VRING_NUM, VRING_STATE, { index, num: 8 }),
      await send(R.SET_VRING_BASE, VRING_STATE, { index, num: 0 }),
      await send(R.SET_VRING_ADDR, VRING_ADDRESS, addresses(index)),
      await send(R.SET_VRING_KICK, VRING_FILE, { index, fd: 20 + 2 * index }),
      await send(R.SET_VRING_CALL, VRING_FILE, { index, fd: 21 + 2 * index }),
    );
  }
  return answers.map(String);
}

async function until(condition: () => boolean): Promise<void> {
  for (let round = 0; !condition(); round += 1) {
    if (round === 10_000) throw new Error('it never came true');
    await new Promise((done) => setImmediate(done));
  }
}

t.test('A14 T15 requests have the numbers that linux/vhost.h gives them', async (t) => {
  const numbers = Object.fromEntries(
    Object.entries(NET_REQUESTS).map(([name, { code }]) => [name, code]),
  );
  // Computed by gcc from the system's header.
  t.same(numbers, {
    GET_FEATURES: 0x8008af00,
    SET_FEATURES: 0x4008af00,
    SET_OWNER: 0xaf01,
    RESET_OWNER: 0xaf02,
    SET_MEM_TABLE: 0x4008af03,
    SET_LOG_BASE: 0x4008af04,
    SET_LOG_FD: 0x4004af07,
    SET_VRING_NUM: 0x4008af10,
    SET_VRING_ADDR: 0x4028af11,
    SET_VRING_BASE: 0x4008af12,
    GET_VRING_BASE: 0xc008af12,
    SET_VRING_ENDIAN: 0x4008af13,
    GET_VRING_ENDIAN: 0x4008af14,
    SET_VRING_KICK: 0x4008af20,
    SET_VRING_CALL: 0x4008af21,
    SET_VRING_ERR: 0x4008af22,
    SET_VRING_BUSYLOOP_TIMEOUT: 0x4008af23,
    GET_VRING_BUSYLOOP_TIMEOUT: 0x4008af24,
    SET_BACKEND_FEATURES: 0x4008af25,
    GET_BACKEND_FEATURES: 0x8008af26,
    NET_SET_BACKEND: 0x4008af30,
  });
});

t.test('A14 T15 structures have the sizes and offsets of linux/vhost.h', async (t) => {
  // What gcc says for -m64 and for -m32 alike.
  t.same(
    [U64, INT, VRING_STATE, VRING_FILE, VRING_ADDRESS, MEMORY_HEADER, MEMORY_REGION].map(
      ({ name, size }) => [name, size],
    ),
    [
      ['__u64', 8],
      ['int', 4],
      ['vhost_vring_state', 8],
      ['vhost_vring_file', 8],
      ['vhost_vring_addr', 40],
      ['vhost_memory', 8],
      ['vhost_memory_region', 32],
    ],
  );
  t.same(VRING_STATE.offsets, { index: 0, num: 4 });
  t.same(VRING_FILE.offsets, { index: 0, fd: 4 });
  t.same(VRING_ADDRESS.offsets, {
    index: 0,
    flags: 4,
    descriptors: 8,
    used: 16,
    available: 24,
    log: 32,
  });
  t.same(MEMORY_HEADER.offsets, { count: 0, padding: 4 });
  t.same(MEMORY_REGION.offsets, { guestAddress: 0, size: 8, userAddress: 16, padding: 24 });
});

t.test('A14 A1 every request but SET_OWNER is EPERM without an owner', async (t) => {
  const { nic, send } = makeNic(t);
  for (const [name, row] of Object.entries(NET_REQUESTS)) {
    if (name === 'SET_OWNER') continue;
    t.equal(await send(row, new Uint8Array(64)), 'EPERM', name);
    t.equal(await send(row), 'EPERM', `${name} with a null pointer`);
  }
  t.equal(await send({ code: 0xaf77 }, new Uint8Array(8)), 'EPERM', 'a request unknown to it too');
  t.equal(await send(R.SET_OWNER), 'ok');
  t.equal(await send(R.SET_OWNER), 'EBUSY');
  t.equal(await send(R.RESET_OWNER), 'ok');
  t.equal(await send(R.GET_FEATURES, U64, 0n), 'EPERM');
  t.equal(await send(R.SET_OWNER), 'ok', 'the next owner is welcome');
  await nic.close();
  t.equal(await send(R.SET_OWNER), 'ENODEV');
  t.equal(await send(R.GET_FEATURES, U64, 0n), 'ENODEV');
});

t.test('A14 A4 features are offered and accepted', async (t) => {
  const { nic, send, ask } = makeNic(t);
  await send(R.SET_OWNER);
  t.equal(await ask(R.GET_FEATURES, U64, 0n), nic.offeredFeatures);
  t.equal(await send(R.SET_FEATURES, U64, FEATURE.VERSION_1), 'ok');
  t.equal(nic.features, FEATURE.VERSION_1);
  t.equal(await send(R.SET_FEATURES, U64, 1n << 63n), 'EOPNOTSUPP');
  t.equal(await send(R.SET_FEATURES, U64, FEATURE.LOG_ALL), 'EFAULT', 'there is no log');
  t.equal(nic.features, FEATURE.VERSION_1, 'nothing changed');
});

t.test('A14 an argument that is not all there is EFAULT', async (t) => {
  const { nic, send } = makeNic(t);
  await send(R.SET_OWNER);
  for (const [name, row] of Object.entries(NET_REQUESTS)) {
    if (row.code < 0x1_0000) continue;
    const size = (row.code >>> 16) & 0x3fff;
    t.equal(await send(row), 'EFAULT', `${name} with a null pointer`);
    t.equal(await send(row, new Uint8Array(size - 1)), 'EFAULT', `${name} a byte short`);
  }
  const argument = new Uint8Array(100).fill(0xee);
  t.equal(await send(R.GET_FEATURES, argument), 'ok');
  t.same(argument.subarray(8), new Uint8Array(92).fill(0xee), 'only the reply is written');
  t.equal(await nic.ioctl(R.SET_OWNER.code | 0), -16, 'and a request is 32 bits, signed or not');
});

t.test('A14 A5 memory tables', async (t) => {
  const { nic, send, regions } = makeNic(t);
  await send(R.SET_OWNER);
  const [region] = regions;
  if (region === undefined) throw new Error('two regions');
  const cases: [Uint8Array, ErrnoName | 'ok', string][] = [
    [memoryTable([]), 'ok', 'none'],
    [memoryTable(regions), 'ok', 'two'],
    [memoryTable(regions, 1), 'EOPNOTSUPP', 'padding in the header'],
    [memoryTable([{ ...region, padding: 1 }]), 'EOPNOTSUPP', 'padding in a region'],
    [memoryTable([], 0, 65), 'E2BIG', '65 regions, none of which is there'],
    [memoryTable([], 0, 0xffff_ffff), 'E2BIG', 'as many as a count can say'],
    [memoryTable(regions, 0, 3), 'EFAULT', 'one region fewer than it says'],
    [memoryTable(regions).subarray(0, -1), 'EFAULT', 'a byte fewer'],
    [memoryTable([region, region]), 'EINVAL', 'the same guest addresses twice'],
    [memoryTable([{ ...region, userAddress: 0x1000 }]), 'ok', 'memory that nobody registered'],
  ];
  for (const [table, answer, name] of cases)
    t.equal(await send(R.SET_MEM_TABLE, table), answer, name);
  const end = memoryTable([region]);
  new DataView(end.buffer).setBigUint64(24, (1n << 64n) - 1n, true);
  t.equal(await send(R.SET_MEM_TABLE, end), 'EFAULT', 'the end of a region wraps (T22)');
  new DataView(end.buffer).setBigUint64(24, 1n << 63n, true);
  t.equal(await send(R.SET_MEM_TABLE, end), 'ok', 'an address that no number holds exactly');
  t.equal(nic.state, 'owned');
});

t.test('A14 A6 T07 a queue index is looked at before anything else about it', async (t) => {
  const { send, opened } = makeNic(t);
  await send(R.SET_OWNER);
  for (const [name, row] of Object.entries(NET_REQUESTS)) {
    if (!row.perVring) continue;
    for (const index of [2, 0xffff_ffff]) {
      // What follows the index is wrong too: no power of two, no eventfd, unknown flags.
      const argument = new Uint8Array(40).fill(0x55);
      new DataView(argument.buffer).setUint32(0, index, true);
      t.equal(await send(row, argument), 'ENOBUFS', `${name} of queue ${index}`);
    }
  }
  t.equal(await send(R.NET_SET_BACKEND, VRING_FILE, { index: 2, fd: BACKEND_FD }), 'ENOBUFS');
  t.same(opened, [], 'no fd was touched');
});

t.test('A14 A7 A8 sizes and bases', async (t) => {
  const nic = makeNic(t);
  const { send, ask } = nic;
  const state = (index: number, num: number) => [VRING_STATE, { index, num }] as const;
  await setUp(nic);
  for (const num of [0, 3, 0x8001, 0x1_0000, 0xffff_ffff]) {
    t.equal(await send(R.SET_VRING_NUM, ...state(1, num)), 'EINVAL', `size ${num}`);
  }
  t.equal(await send(R.SET_VRING_BASE, ...state(1, 0x1_0000)), 'EINVAL');
  t.equal(await send(R.SET_VRING_BASE, ...state(1, 0xffff)), 'ok');
  t.same(await ask(R.GET_VRING_BASE, VRING_STATE, { index: 1, num: 77 }), {
    index: 1,
    num: 0xffff,
  });
  t.same(await ask(R.GET_VRING_BASE, VRING_STATE, { index: 0, num: 77 }), { index: 0, num: 0 });
  t.equal(await send(R.NET_SET_BACKEND, VRING_FILE, { index: 1, fd: BACKEND_FD }), 'ok');
  t.equal(await send(R.SET_VRING_NUM, ...state(1, 8)), 'EBUSY');
  t.equal(await send(R.SET_VRING_BASE, ...state(1, 0)), 'EBUSY');
  t.equal(await send(R.SET_VRING_NUM, ...state(0, 16)), 'ok', 'the other queue stands still');
});

t.test('A14 A9 ring addresses', async (t) => {
  const nic = makeNic(t);
  const { send, addresses } = nic;
  await setUp(nic);
  const set = (change: Parameters<typeof addresses>[1], flags = 0) =>
    send(R.SET_VRING_ADDR, VRING_ADDRESS, { ...addresses(0, change), flags });
  const { used, available, descriptors } = addresses(0);
  t.equal(await set({}, 2), 'EOPNOTSUPP');
  t.equal(await set({}, 0x8000_0000), 'EOPNOTSUPP');
  t.equal(await set({ available: available + 1n }), 'EINVAL');
  t.equal(await set({ used: used + 2n }), 'EINVAL');
  t.equal(await set({ used: 0x1000n }), 'ok', 'outside memory: said when a backend is attached');
  const attach = { index: 0, fd: BACKEND_FD };
  t.equal(await send(R.NET_SET_BACKEND, VRING_FILE, attach), 'EFAULT');
  t.equal(await set({ descriptors: descriptors + 1n }), 'ok', 'descriptors may stand anywhere');
  t.equal(await send(R.NET_SET_BACKEND, VRING_FILE, attach), 'ok');
  t.equal(await set({ used: 0x1000n }), 'EFAULT');
  t.equal(await set({ used: 0xffff_ffff_ffff_0000n }), 'EFAULT', 'an address over 2^53');
});

t.test('A14 A10 eventfds are set, replaced and unset one by one', async (t) => {
  const { nic, send, opened, events } = makeNic(t);
  await send(R.SET_OWNER);
  const ended: number[] = [];
  const watch = (fd: number) =>
    events.get(fd)?.events$.subscribe({ complete: () => ended.push(fd) });
  const kicks: number[] = [];
  nic.kicks$.subscribe(({ queue }) => kicks.push(queue));
  events.get(20)?.signal();
  const set = (row: { readonly code: number }, fd: number) =>
    send(row, VRING_FILE, { index: 1, fd });
  t.equal(await set(R.SET_VRING_KICK, 20), 'ok');
  t.equal(await set(R.SET_VRING_CALL, 21), 'ok');
  t.equal(await set(R.SET_VRING_ERR, 22), 'ok');
  await until(() => kicks.length === 1);
  t.same(kicks, [1], 'a kick that was pending is heard');
  for (const row of [R.SET_VRING_KICK, R.SET_VRING_CALL, R.SET_VRING_ERR]) {
    t.equal(await set(row, 99), 'EBADF', 'not open');
    t.equal(await set(row, -2), 'EBADF', 'only −1 unsets');
    t.equal(await set(row, REGULAR_FILE), 'EINVAL', 'no eventfd');
  }
  t.equal(await set(R.SET_VRING_CALL, 23), 'ok');
  watch(21);
  t.same(ended, [21], 'a replaced one is closed');
  for (const row of [R.SET_VRING_KICK, R.SET_VRING_CALL, R.SET_VRING_ERR]) {
    t.equal(await set(row, -1), 'ok');
  }
  for (const fd of [20, 22, 23]) watch(fd);
  t.same(ended, [21, 20, 22, 23]);
  t.same(
    [...new Set(opened)].sort((a, b) => a - b),
    [-2, 5, 20, 21, 22, 23, 99],
  );
});

t.test('A14 a device made without event ports knows no fd', async (t) => {
  const nic = new VhostNet();
  const { send } = requester(nic);
  await send(R.SET_OWNER);
  t.equal(await send(R.SET_VRING_KICK, VRING_FILE, { index: 0, fd: 3 }), 'EBADF');
  t.equal(await send(R.SET_VRING_KICK, VRING_FILE, { index: 0, fd: -1 }), 'ok');
  t.equal(await send(R.SET_LOG_FD, INT, 3), 'EBADF');
  await nic.close();
});

t.test('A14 C9 C10 SET_BACKEND: index, ring access, then the providers', async (t) => {
  const nic = makeNic(t);
  const { send, socket, regions } = nic;
  const set = (index: number, fd: number) => send(R.NET_SET_BACKEND, VRING_FILE, { index, fd });
  await send(R.SET_OWNER);
  t.equal(await set(1, BACKEND_FD), 'EFAULT', 'no ring yet');
  t.equal(await set(1, -1), 'ok', 'there was nothing to detach');
  await send(R.RESET_OWNER);
  t.same(new Set(await setUp(nic)), new Set(['ok']));
  t.equal(await set(1, REGULAR_FILE), 'ENOTSOCK');
  t.equal(await set(1, -5), 'ENOTSOCK');
  t.equal(nic.nic.state, 'owned');
  t.equal(await set(1, BACKEND_FD), 'ok');
  t.equal(nic.nic.state, 'running');
  t.equal(await set(1, REGULAR_FILE), 'ENOTSOCK');
  t.equal(nic.nic.state, 'running', 'a refused fd leaves the old backend');
  t.equal(await set(1, -1), 'ok');
  t.equal(nic.nic.state, 'owned');
  t.equal(socket.closed, 1);
  t.equal(await send(R.SET_MEM_TABLE, memoryTable(regions)), 'ok');
});

t.test('A14 A4 B8 the dirty log lies in registered memory', async (t) => {
  const nic = makeNic(t);
  const { send, events, rings } = nic;
  await setUp(nic);
  const at = 0x7000_0000_0000;
  const log = new Uint8Array(0x1000);
  nic.nic.userMemory.register(at, new ArrayBufferMapping(log.buffer));
  t.equal(
    await send(R.SET_LOG_BASE, U64, BigInt(at) - 1n),
    'EFAULT',
    'nothing is registered there',
  );
  t.equal(await send(R.SET_LOG_BASE, U64, BigInt(at) + 0x1000n), 'EFAULT');
  t.equal(await send(R.SET_LOG_BASE, U64, BigInt(at) + 8n), 'ok');
  t.equal(await send(R.SET_LOG_FD, INT, 99), 'EBADF');
  t.equal(await send(R.SET_LOG_FD, INT, 24), 'ok');
  t.equal(await send(R.SET_FEATURES, U64, FEATURE.LOG_ALL), 'ok');
  t.equal(await send(R.NET_SET_BACKEND, VRING_FILE, { index: 0, fd: BACKEND_FD }), 'ok');
  const [receive] = rings;
  receive.descriptor(0, { at: 0, length: 2000, flags: 2 });
  receive.offer(0);
  nic.socket.toReceive.push(frame(7));
  events.get(20)?.signal();
  await until(() => receive.usedIndex === 1);
  const page = receive.address(0) / LOG_PAGE;
  t.equal(
    log[8 + Math.floor(page / 8)],
    1 << (page % 8),
    'the page of the buffer, from the base on',
  );
  t.ok((events.get(24)?.pending ?? 0) > 0, 'and its event is raised');
  t.equal(await send(R.SET_LOG_FD, INT, -1), 'ok');
});

t.test('A14 C14 busy polling is set in microseconds for each queue', async (t) => {
  const nic = new VhostNet({ busyPoll: 30 });
  const { send, ask } = requester(nic);
  await send(R.SET_OWNER);
  const get = (index: number) => ask(R.GET_VRING_BUSYLOOP_TIMEOUT, VRING_STATE, { index, num: 0 });
  t.same(await get(1), { index: 1, num: 30 }, 'what the device was made with');
  t.equal(await send(R.SET_VRING_BUSYLOOP_TIMEOUT, VRING_STATE, { index: 1, num: 50 }), 'ok');
  t.same(await get(1), { index: 1, num: 50 });
  t.same(await get(0), { index: 0, num: 30 });
  t.throws(() => nic.setVringBusyPoll(0, -1), { code: 'EINVAL' });
  await send(R.RESET_OWNER);
  await send(R.SET_OWNER);
  t.same(await get(1), { index: 1, num: 30 });
  await nic.close();
});

t.test('A14 a request that is not served is ENOIOCTLCMD, when its index is a queue', async (t) => {
  const { send } = makeNic(t);
  await send(R.SET_OWNER);
  for (const code of [R.SET_VRING_ENDIAN.code, R.GET_VRING_ENDIAN.code, 0xaf77, 0x5401, 0]) {
    const name = `0x${code.toString(16)}`;
    t.equal(await send({ code }, VRING_STATE, { index: 1, num: 0 }), 'ENOIOCTLCMD', name);
    t.equal(await send({ code }, VRING_STATE, { index: 2, num: 0 }), 'ENOBUFS', name);
    t.equal(await send({ code }), 'EFAULT', name);
  }
});

t.test('A14 requests are served one after the other, and arguments are copied', async (t) => {
  const nic = makeNic(t);
  await setUp(nic);
  const argument = VRING_FILE.encode({ index: 0, fd: BACKEND_FD });
  const answers = [nic.nic.ioctl(R.NET_SET_BACKEND.code, argument)];
  argument.fill(0xff);
  // The reset has to wait for the queue; the next owner comes when it is done.
  answers.push(nic.nic.ioctl(R.RESET_OWNER.code), nic.nic.ioctl(R.SET_OWNER.code));
  answers.push(nic.nic.ioctl(R.SET_OWNER.code));
  t.same(await Promise.all(answers), [0, 0, 0, -16]);
  t.equal(nic.socket.closed, 1);
});

for (const caller of ['ioctl', 'compatIoctl'] as const) {
  t.test(`A14 C1 a NIC brought up by ${caller} alone passes frames both ways`, async (t) => {
    const nic = makeNic(t);
    const through = requester({ ioctl: (request, argument) => nic.nic[caller](request, argument) });
    t.same(new Set(await setUp({ ...nic, ...through }, FEATURE.VERSION_1)), new Set(['ok']));
    for (const index of [0, 1]) {
      const backend = { index, fd: BACKEND_FD };
      t.equal(await through.send(R.NET_SET_BACKEND, VRING_FILE, backend), 'ok');
    }
    const [receive, transmit] = nic.rings;
    transmit.data(0, 12).fill(0);
    transmit.data(12, 60).set(frame(5));
    const at = BigInt(transmit.address(0) + TRANSMIT_SHIFT);
    transmit.descriptor(0, { at, length: 72, absolute: true });
    transmit.offer(0);
    nic.events.get(22)?.signal();
    await until(() => transmit.usedIndex === 1);
    t.same(nic.socket.sent, [frame(5)]);
    t.equal(nic.events.get(23)?.pending, 1, 'the driver is called');

    receive.descriptor(0, { at: 0, length: 2000, flags: 2 });
    receive.offer(0);
    nic.socket.toReceive.push(frame(6));
    nic.events.get(20)?.signal();
    await until(() => receive.usedIndex === 1);
    t.same(receive.used(0), { id: 0, length: 72 });
    t.same(receive.data(12, 60), frame(6));
    t.same(await through.ask(R.GET_VRING_BASE, VRING_STATE, { index: 0, num: 0 }), {
      index: 0,
      num: 1,
    });
    t.equal(await through.send(R.RESET_OWNER), 'ok');
    t.equal(nic.nic.state, 'unowned');
  });
}
