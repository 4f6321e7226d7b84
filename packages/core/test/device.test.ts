import t from 'tap';
import {
  ArrayBufferMapping,
  COMMON_FEATURES,
  FEATURE,
  LocalEvent,
  NET_FEATURE,
  VhostNet,
  WorkQueue,
} from '../src/index.js';
import { frame, ManualTurns, makeNic } from './support/nic.js';
import { RingMemory, USER_BASE } from './support/ring-memory.js';

t.test('A1 every request but SET_OWNER needs an owner, and there is one owner', async (t) => {
  const nic = new VhostNet();
  const ring = new RingMemory(8);
  const requests: [string, () => unknown][] = [
    ['setFeatures', () => nic.setFeatures(0n)],
    ['setMemoryTable', () => nic.setMemoryTable({ padding: 0, regions: [] })],
    ['setMemoryRegions', () => nic.setMemoryRegions([ring.region])],
    ['addMemoryRegion', () => nic.addMemoryRegion(ring.region)],
    ['removeMemoryRegion', () => nic.removeMemoryRegion(ring.region)],
    ['setVringSize', () => nic.setVringSize(0, 8)],
    ['setVringBase', () => nic.setVringBase(0, 0)],
    ['vringBase', () => nic.vringBase(0)],
    ['setVringAddresses', () => nic.setVringAddresses(0, ring.addresses)],
    ['setVringKick', () => nic.setVringKick(0, undefined)],
    ['setVringCall', () => nic.setVringCall(0, undefined)],
    ['setVringError', () => nic.setVringError(0, undefined)],
    ['runQueue', () => nic.runQueue(0, 'stopped')],
  ];
  for (const [name, request] of requests) t.throws(request, { code: 'EPERM' }, name);
  await t.rejects(nic.resetOwner(), { code: 'EPERM' });
  await t.rejects(nic.setBackend(0, -1), { code: 'EPERM' });
  t.equal(ring.released, 2, 'memory that was refused is given back');
  nic.setOwner();
  t.throws(() => nic.setOwner(), { code: 'EBUSY' });
  for (const [name, request] of requests.slice(0, 2)) t.doesNotThrow(request, name);
  await nic.close();
  t.throws(() => nic.setOwner(), { code: 'ENODEV' });
});

t.test(
  'A2 T11 RESET_OWNER stops, drops and forgets everything; the next owner starts afresh',
  async (t) => {
    const { nic, setUp, run, turns, receive, transmit, port, offerFrames, socket } = makeNic();
    setUp(FEATURE.VERSION_1);
    run();
    t.equal(nic.state, 'running');
    const reset = nic.resetOwner();
    turns.settle();
    await reset;
    t.equal(nic.state, 'unowned');
    t.equal(nic.features, 0n);
    t.same([receive.released, transmit.released], [1, 1], 'memory is unmapped once');
    for (const index of [0, 1]) {
      for (const closed of Object.values(port(index))) {
        let completed = false;
        closed.events$.subscribe({ complete: () => (completed = true) });
        t.ok(completed, 'each event port is closed');
      }
    }
    offerFrames([frame(1)]);
    turns.settle();
    t.same(socket.sent, [], 'nothing runs any more');
    t.throws(() => nic.setVringSize(0, 8), { code: 'EPERM' });
    nic.setOwner();
    t.equal(nic.vringBase(1), 0);
    t.throws(() => nic.runQueue(1, 'running'), { code: 'EFAULT' }, 'no size, no addresses');
    t.equal(socket.closed, 0, 'a NIC keeps its backends for the next front-end');
  },
);

t.test('A2 before a table is set every user address is its own guest address', async (t) => {
  const ring = new RingMemory(8);
  const turns = new ManualTurns();
  const { socket } = makeNic();
  const nic = new VhostNet({ backends: socket, turns });
  nic.userMemory.register(USER_BASE, new ArrayBufferMapping(ring.buffer));
  nic.setOwner();
  const run = () => {
    nic.setVringSize(1, 8);
    nic.setVringAddresses(1, ring.addresses);
    nic.runQueue(1, 'running');
    turns.settle();
  };
  ring.data(10, 60).fill(7);
  ring.descriptor(0, { at: BigInt(USER_BASE + 0x1_0000), length: 70, absolute: true });
  ring.offer(0);
  run();
  t.same(socket.sent, [frame(7)]);
  nic.setMemoryTable({
    padding: 0,
    regions: [{ guestAddress: 0, userAddress: USER_BASE, size: 0x10_0000, padding: 0 }],
  });
  const reset = nic.resetOwner();
  turns.settle();
  await reset;
  nic.setOwner();
  run();
  t.equal(socket.sent.length, 2, 'and so it is again after RESET_OWNER');
});

t.test('A3 close waits for work that queued itself, and closes backends once', async (t) => {
  const { nic, setUp, run, turns, socket, offerFrames } = makeNic();
  setUp();
  run();
  offerFrames([frame(1)]);
  turns.turn();
  const closing = nic.close();
  turns.settle();
  await closing;
  await nic.close();
  await nic[Symbol.asyncDispose]();
  t.equal(socket.closed, 1);
  t.equal(nic.state, 'closed');
});

t.test('A4 features that are not offered are refused and change nothing', async (t) => {
  const nic = new VhostNet({ mac: new Uint8Array([2, 0, 0, 0, 0, 1]), mtu: 1400 });
  t.equal(nic.offeredFeatures & COMMON_FEATURES, COMMON_FEATURES);
  const both = NET_FEATURE.MAC | NET_FEATURE.MTU;
  t.equal(nic.offeredFeatures & both, both);
  t.equal(new VhostNet().offeredFeatures & both, 0n, 'only what the NIC has');
  nic.setOwner();
  nic.setFeatures(FEATURE.VERSION_1);
  t.throws(() => nic.setFeatures(1n << 41n), { code: 'EOPNOTSUPP' });
  t.throws(() => nic.setFeatures(1n << 63n), { code: 'EOPNOTSUPP' });
  t.equal(nic.features, FEATURE.VERSION_1);
});

t.test('T18 ring features are offered one by one, and refused where they are not', async (t) => {
  const switches = [
    [FEATURE.RING_PACKED, { packed: false }],
    [FEATURE.IN_ORDER, { inOrder: false }],
    [FEATURE.RING_RESET, { reset: false }],
  ] as const;
  const all = FEATURE.RING_PACKED | FEATURE.IN_ORDER | FEATURE.RING_RESET;
  t.equal(new VhostNet().offeredFeatures & all, all);
  for (const [feature, rings] of switches) {
    const nic = new VhostNet({ rings });
    t.equal(nic.offeredFeatures & all, all & ~feature);
    nic.setOwner();
    t.throws(() => nic.setFeatures(feature), { code: 'EOPNOTSUPP' });
    t.equal(nic.features, 0n);
  }
});

t.test('A7 A8 T40 sizes and bases follow the negotiated ring', async (t) => {
  const nic = new VhostNet();
  nic.setOwner();
  t.throws(() => nic.setVringSize(0, 100), { code: 'EINVAL' });
  t.throws(() => nic.setVringBase(0, 0x8000_8000), { code: 'EINVAL' });
  t.equal(nic.vringBase(0), 0);
  nic.setFeatures(FEATURE.VERSION_1 | FEATURE.RING_PACKED);
  t.equal(nic.vringBase(0), 0x8000_8000, 'an unused ring is in its first round');
  t.throws(() => nic.setVringSize(0, 0), { code: 'EINVAL' });
  t.throws(() => nic.setVringSize(0, 1025), { code: 'EINVAL' }, 'more than the NIC takes');
  nic.setVringSize(0, 100);
  nic.setVringBase(0, 0x8003_8003);
  t.equal(nic.vringBase(0), 0x8003_8003);
  nic.setVringBase(0, undefined);
  t.equal(nic.vringBase(0), 0x8000_8000);
});

t.test('A5 a memory table request is checked before anything changes', async (t) => {
  const nic = new VhostNet();
  nic.setOwner();
  const region = { guestAddress: 0, userAddress: USER_BASE, size: 4096, padding: 0 };
  t.throws(() => nic.setMemoryTable({ padding: 1, regions: [region] }), { code: 'EOPNOTSUPP' });
  t.throws(() => nic.setMemoryTable({ padding: 0, regions: [{ ...region, padding: 9 }] }), {
    code: 'EOPNOTSUPP',
  });
  t.throws(() => nic.setMemoryTable({ padding: 0, regions: Array(65).fill(region) }), {
    code: 'E2BIG',
  });
  t.doesNotThrow(() => nic.setMemoryTable({ padding: 0, regions: [region] }));
});

t.test('A6 T07 a queue index equal to the number of queues, or over it, is ENOBUFS', async (t) => {
  const nic = new VhostNet();
  nic.setOwner();
  for (const index of [2, 3, 255, -1, 0.5]) {
    t.throws(() => nic.setVringSize(index, 8), { code: 'ENOBUFS' });
    t.throws(() => nic.setVringKick(index, undefined), { code: 'ENOBUFS' });
    t.throws(() => nic.runQueue(index, 'running'), { code: 'ENOBUFS' });
    await t.rejects(nic.setBackend(index, -1), { code: 'ENOBUFS' });
  }
});

t.test(
  'A7 T40 queue sizes: powers of two up to the maximum, and not while the queue runs',
  async (t) => {
    const { nic, setUp, run } = makeNic({ maxQueueSize: 256 });
    setUp();
    for (const size of [0, -8, 3, 7, 257, 512, 65536, 0x1_0000_0000, 1.5, Number.NaN]) {
      t.throws(() => nic.setVringSize(0, size), { code: 'EINVAL' }, String(size));
    }
    for (const size of [1, 2, 256, 8]) nic.setVringSize(0, size);
    run();
    t.throws(() => nic.setVringSize(0, 16), { code: 'EBUSY' });
    const largest = new VhostNet({ maxQueueSize: 65536 });
    largest.setOwner();
    t.doesNotThrow(() => largest.setVringSize(0, 32768));
    t.throws(() => largest.setVringSize(0, 65536), { code: 'EINVAL' });
  },
);

t.test('A8 T05 the base is the next available index, kept when the queue stops', async (t) => {
  const { nic, setUp, run, offerFrames, turns, transmit, socket } = makeNic();
  setUp();
  for (const base of [-1, 65536, 1.5]) {
    t.throws(() => nic.setVringBase(1, base), { code: 'EINVAL' });
  }
  nic.setVringBase(1, 0xffff);
  t.equal(nic.vringBase(1), 0xffff);
  transmit.availableIndex = 0xffff;
  run();
  t.throws(() => nic.setVringBase(1, 3), { code: 'EBUSY' });
  offerFrames([frame(1), frame(2)]);
  turns.settle();
  t.equal(nic.vringBase(1), 1, 'it wraps at 2^16');
  nic.runQueue(1, 'stopped');
  nic.runQueue(1, 'stopped');
  t.equal(nic.vringBase(1), 1);
  nic.runQueue(1, 'running');
  turns.settle();
  t.equal(socket.sent.length, 2, 'stop and start repeats nothing');
});

t.test('A9 ring addresses: flags, alignment, and where they lie', async (t) => {
  const { nic, setUp, run, receive } = makeNic();
  setUp();
  const good = receive.addresses;
  const set = (change: Partial<typeof good>) => nic.setVringAddresses(0, { ...good, ...change });
  t.throws(() => set({ flags: 2 }), { code: 'EOPNOTSUPP' });
  t.throws(() => set({ availableRing: good.availableRing + 1 }), { code: 'EINVAL' });
  t.throws(() => set({ usedRing: good.usedRing + 2 }), { code: 'EINVAL' });
  t.doesNotThrow(() => set({ descriptorTable: good.descriptorTable + 1 }));
  t.doesNotThrow(() => set({ usedRing: 0x1000 }), 'outside memory: said when it is attached');
  t.throws(() => nic.runQueue(0, 'running'), { code: 'EFAULT' });
  set({});
  run();
  t.throws(() => set({ usedRing: 0x1000 }), { code: 'EFAULT' }, 'at once while it runs');
  t.equal(nic.state, 'running', 'and the queue goes on where it was');
  for (const at of [0x10_0000 - 68, 0x10_0000]) {
    t.throws(() => set({ usedRing: USER_BASE + at }), { code: 'EFAULT' }, 'not all inside');
  }
});

t.test('A9 ring addresses may come before the memory that they lie in', async (t) => {
  const { nic, receive, turns } = makeNic();
  nic.setOwner();
  nic.setVringAddresses(0, receive.addresses);
  nic.setVringSize(0, 8);
  t.throws(() => nic.runQueue(0, 'running'), { code: 'EFAULT' });
  nic.setMemoryRegions([receive.region]);
  nic.runQueue(0, 'running');
  turns.settle();
  t.equal(nic.state, 'running');
});

t.test(
  'A10 T09 event ports: pending kicks count, replaced ports are closed once and silent',
  async (t) => {
    const { nic, setUp, run, turns, offerFrames, socket, port } = makeNic();
    setUp();
    nic.setVringKick(1, undefined);
    run();
    offerFrames([frame(1)], 10, false);
    const pending = new LocalEvent(turns);
    pending.signal();
    nic.setVringKick(1, pending);
    turns.settle();
    t.equal(socket.sent.length, 1, 'a kick that was pending is served');
    const call = new LocalEvent(turns);
    nic.setVringCall(1, call);
    offerFrames([frame(2)], 10, false);
    pending.signal();
    turns.settle();
    t.equal(call.pending, 1, 'calls go to the new port');
    const before = port(1).call.pending;
    nic.setVringCall(1, undefined);
    offerFrames([frame(3)], 10, false);
    pending.signal();
    turns.settle();
    t.equal(port(1).call.pending, before);
    t.equal(socket.sent.length, 3, 'a queue without a call port works');
    nic.setVringKick(1, new LocalEvent(turns));
    offerFrames([frame(4)], 10, false);
    pending.signal();
    turns.settle();
    t.equal(socket.sent.length, 3, 'a replaced kick port is not listened to');
  },
);

t.test('A10 a port given to a request that fails is closed', async (t) => {
  const { nic, turns } = makeNic();
  const port = new LocalEvent(turns);
  t.throws(() => nic.setVringKick(0, port), { code: 'EPERM' });
  let completed = false;
  port.events$.subscribe({ complete: () => (completed = true) });
  t.ok(completed);
});

t.test('A12 flush resolves when what was queued before it has run', async (t) => {
  const turns = new ManualTurns();
  const work = new WorkQueue(turns);
  const order: string[] = [];
  const job = (name: string, again = 0) => {
    let left = again;
    const self = {
      run() {
        order.push(name);
        if (left-- > 0) work.queue(self);
      },
    };
    return self;
  };
  work.queue(job('a', 1));
  work.queue(job('b'));
  const flushed = work.flush().then(() => order.push('flushed'));
  turns.settle();
  await flushed;
  t.same(order.slice(0, 2), ['a', 'b']);
  t.ok(order.includes('flushed'));
  await work.flush();
});

t.test('A13 T43 a busy device leaves the event loop to others', async (t) => {
  const turns = new ManualTurns();
  const busy = new WorkQueue(turns);
  const idle = new WorkQueue(turns);
  let spins = 0;
  const spin = {
    run() {
      spins += 1;
      busy.queue(spin);
    },
  };
  busy.queue(spin);
  turns.turn();
  let ran = 0;
  idle.queue({ run: () => (ran += 1) });
  turns.turn();
  t.equal(ran, 1, 'the other device has its turn at once');
  t.ok(spins > 1);
  t.equal(turns.count, 1, 'and the busy one has its next');
});

t.test(
  'T95 state$ tells the device’s life, errors$ and kicks$ end with it; kicks come together',
  async (t) => {
    const { nic, setUp, run, turns, offerFrames } = makeNic();
    const states: string[] = [];
    const kicks: [number, number][] = [];
    let ended = 0;
    nic.state$.subscribe({ next: (state) => states.push(state), complete: () => (ended += 1) });
    nic.kicks$.subscribe({
      next: ({ queue, count }) => kicks.push([queue, count]),
      complete: () => (ended += 1),
    });
    nic.errors$.subscribe({ complete: () => (ended += 1) });
    setUp();
    run();
    offerFrames([frame(1)]);
    offerFrames([frame(2)]);
    turns.settle();
    nic.runQueue(0, 'stopped');
    nic.runQueue(1, 'stopped');
    const closing = nic.close();
    turns.settle();
    await closing;
    t.same(states, ['unowned', 'owned', 'running', 'owned', 'closed']);
    t.same(kicks, [[1, 2]], 'one emission for kicks that came together');
    t.equal(ended, 3);
  },
);

t.test(
  'T23 memory replaced under a running queue: it goes on there, or stops with an error',
  async (t) => {
    const { nic, setUp, run, faults, receive, transmit, offerFrames, turns, socket } = makeNic();
    setUp();
    run();
    const copies = [receive, transmit].map((ring, index) => {
      const copy = new RingMemory(8);
      copy.bytes.set(ring.bytes);
      return {
        copy,
        region: {
          ...copy.region,
          guestAddress: copy.region.guestAddress + index * 0x100_0000,
          userAddress: copy.region.userAddress + index * 0x100_0000,
        },
      };
    });
    nic.setMemoryRegions(copies.map(({ region }) => region));
    t.same([receive.released, transmit.released], [1, 1]);
    transmit.availableIndex += 1;
    offerFrames([frame(9)]);
    turns.settle();
    t.same(socket.sent, [], 'the old memory is not looked at');
    const second = copies[1]?.region;
    if (second === undefined) throw new Error('two copies');
    nic.setMemoryRegions([second]);
    t.match(faults, [{ queue: 0, error: { code: 'EFAULT' } }]);
    t.equal(nic.state, 'running', 'the queue whose ring is still there runs');
    const [first] = copies;
    t.equal(first?.copy.released, 1);
  },
);
