import fc from 'fast-check';
import { Subject } from 'rxjs';
import t from 'tap';
import {
  ArrayBufferMapping,
  CompletionBatch,
  DeviceAddresses,
  DirtyLog,
  FEATURE,
  Iotlb,
  type IotlbAccess,
  MemoryTable,
  type PacketBatch,
  type QueueMiss,
  SegmentList,
  type ZeroCopySender,
} from '../src/index.js';
import { FakeSocket, frame, makeNic } from './support/nic.js';
import { GUEST_BASE, USER_BASE } from './support/ring-memory.js';

/** Where the transmit ring's memory lies beside the receive ring's, in every kind of address. */
const TRANSMIT = 0x100_0000;
const MEBIBYTE = 0x10_0000;
const FEATURES = FEATURE.VERSION_1 | FEATURE.IOMMU_PLATFORM;
const HEADER = 12;

const span = fc.record({
  address: fc.nat(60),
  size: fc.integer({ min: 1, max: 24 }),
});
const change = fc.oneof(
  fc.record({
    kind: fc.constant('update' as const),
    span,
    userAddress: fc.integer({ min: 1000, max: 2000 }),
    access: fc.constantFrom<IotlbAccess>(1, 2, 3),
  }),
  fc.record({
    kind: fc.constant('invalidate' as const),
    span,
    userAddress: fc.constant(0),
    access: fc.constant<IotlbAccess>(1),
  }),
);

/** What a byte means, as "user address/access", or undefined. */
function meaning(iotlb: Iotlb, address: number): string | undefined {
  const range = iotlb.find(address);
  return range && `${range.userAddress + (address - range.address)}/${range.access}`;
}

t.test('B10 T29 the IOTLB knows of each byte what it was told last', async (t) => {
  await fc.assert(
    fc.property(fc.array(change, { maxLength: 60 }), (changes) => {
      const iotlb = new Iotlb();
      const model = new Map<number, string>();
      for (const { kind, span, userAddress, access } of changes) {
        const generation = iotlb.generation;
        let changed = false;
        for (let byte = 0; byte < span.size; byte += 1) {
          const address = span.address + byte;
          changed ||= model.has(address);
          if (kind === 'update') model.set(address, `${userAddress + byte}/${access}`);
          else model.delete(address);
        }
        if (kind === 'update') iotlb.update({ ...span, userAddress, access });
        else iotlb.invalidate(span.address, span.size);
        if (changed && iotlb.generation === generation) return false;
        for (let address = 0; address < 90; address += 1) {
          if (meaning(iotlb, address) !== model.get(address)) return false;
        }
      }
      return true;
    }),
    { numRuns: 500 },
  );
  t.pass('partial overlaps on either side, inside and around');
});

t.test('B10 T29 the IOTLB is bounded, and what it keeps is still right', async (t) => {
  await fc.assert(
    fc.property(
      fc.array(change, { maxLength: 80 }),
      fc.integer({ min: 1, max: 6 }),
      (changes, capacity) => {
        const iotlb = new Iotlb(capacity);
        const model = new Map<number, string>();
        for (const { kind, span, userAddress, access } of changes) {
          for (let byte = 0; byte < span.size; byte += 1) {
            if (kind === 'update') {
              model.set(span.address + byte, `${userAddress + byte}/${access}`);
            } else model.delete(span.address + byte);
          }
          if (kind === 'update') {
            iotlb.update({ ...span, userAddress, access });
            const first = `${userAddress}/${access}`;
            if (meaning(iotlb, span.address) !== first) return false; // what came last is kept
          } else iotlb.invalidate(span.address, span.size);
          if (iotlb.count > capacity) return false;
          for (let address = 0; address < 90; address += 1) {
            const known = meaning(iotlb, address);
            if (known !== undefined && known !== model.get(address)) return false;
          }
        }
        return true;
      },
    ),
    { numRuns: 500 },
  );
  const iotlb = new Iotlb(2);
  for (const address of [0x1000, 0x2000, 0x3000]) {
    iotlb.update({ address, size: 0x1000, userAddress: 0, access: 3 });
  }
  t.equal(iotlb.count, 2);
  t.equal(iotlb.find(0x1000), undefined, 'the oldest has gone');
});

t.test('B10 a range that no number holds, or of no bytes, is refused', async (t) => {
  const iotlb = new Iotlb();
  const good = { address: 0x1000, size: 0x1000, userAddress: 0x5000, access: 3 } as const;
  const limit = Number.MAX_SAFE_INTEGER;
  for (const wrong of [{ size: 0 }, { address: -1 }, { address: limit }, { userAddress: limit }]) {
    t.throws(() => iotlb.update({ ...good, ...wrong }), { code: 'EINVAL' });
  }
  t.equal(iotlb.count, 0);
  iotlb.update(good);
  iotlb.invalidate(0, Number.POSITIVE_INFINITY);
  t.equal(iotlb.count, 0);
});

/** Two regions of 64 KiB that touch in user addresses, the second one's bytes elsewhere. */
function addresses() {
  const region = (guestAddress: number, userAddress: number) => ({
    guestAddress,
    userAddress,
    size: 0x1_0000,
    mapping: new ArrayBufferMapping(new ArrayBuffer(0x1_0000)),
  });
  const table = new MemoryTable(
    [region(0x90_0000, 0x10_0000), region(0x20_0000, 0x11_0000)],
    () => {},
  );
  const iotlb = new Iotlb();
  return { iotlb, translator: new DeviceAddresses(table, iotlb), segments: new SegmentList(8) };
}

t.test('B10 a buffer is translated piece by piece, or not at all', async (t) => {
  const { iotlb, translator, segments } = addresses();
  iotlb.update({ address: 0x1000, size: 0x1000, userAddress: 0x10_f800, access: 3 });
  iotlb.update({ address: 0x2000, size: 0x1000, userAddress: 0x10_0000, access: 1 });
  t.equal(translator.translate(0x1400, 0x1000, segments, false), 'ok');
  const pieces = Array.from({ length: segments.count }, (_, s) => [
    segments.window[s],
    segments.offset[s],
    segments.length[s],
  ]);
  const [low, high] = [1, 0]; // windows are in order of guest addresses
  t.same(pieces, [
    [low, 0xfc00, 0x400],
    [high, 0, 0x800],
    [low, 0, 0x400],
  ]);
  t.equal(translator.translate(0x1400, 0x1000, segments, true), 'denied', 'read-only at its end');
  t.equal(translator.translate(0x2800, 0x1000, segments, false), 'miss');
  t.equal(translator.missed, 0x3000);
  t.equal(segments.count, 3, 'nothing was added');
  t.equal(translator.translate(0x1400, 0x1000, new SegmentList(2), false), 'full');
  iotlb.update({ address: 0x8000, size: 0x1000, userAddress: 0x66_0000, access: 3 });
  t.equal(translator.translate(0x8000, 1, segments, false), 'fault', 'outside guest memory');
  t.equal(translator.translate(0xffff_0000, 0, segments, false), 'ok', 'no bytes are anywhere');
  t.same(translator.stretchAt(0x1900, true), {
    start: 0x1800,
    end: 0x2000,
    window: high,
    offset: 0,
  });
});

t.test('B10 a ring may be told in several ranges that follow each other', async (t) => {
  const { iotlb, translator } = addresses();
  iotlb.update({ address: 0x1000, size: 0x1000, userAddress: 0x10_2000, access: 3 });
  t.equal(translator.findRing(0x1000, 0x1800, true), 'miss');
  t.equal(translator.missed, 0x2000);
  iotlb.update({ address: 0x2000, size: 0x1000, userAddress: 0x10_3000, access: 1 });
  t.equal(translator.findRing(0x1000, 0x1800, true), 'denied');
  t.same(translator.findRing(0x1000, 0x1800, false), { window: 1, offset: 0x2000 });
  iotlb.update({ address: 0x2000, size: 0x1000, userAddress: 0x10_5000, access: 3 });
  t.equal(translator.findRing(0x1000, 0x1800, false), 'fault', 'they do not follow each other');
});

/** Sends by reference, and completes when the test says so. */
class ReferenceSocket extends FakeSocket {
  readonly out: number[] = [];
  readonly #completions = new Subject<CompletionBatch>();
  readonly zeroCopy: ZeroCopySender = {
    completions$: this.#completions,
    send: (batch: PacketBatch, first: number, tickets: Uint32Array) => {
      for (let index = first; index < batch.count; index += 1) {
        batch.results[index] = batch.frameLength(index);
        this.out.push(tickets[index] as number);
      }
      return batch.count - first;
    },
  };

  completeAll(): void {
    const tickets = this.out.splice(0);
    const batch = new CompletionBatch(tickets.length);
    for (const ticket of tickets) batch.push(ticket, true);
    this.#completions.next(batch);
  }
}

/** A NIC behind an IOMMU. The driver's addresses are those of `makeNic`; nothing is known of them. */
function setUp(socket = new FakeSocket()) {
  const nic = makeNic({ iommu: true, backends: socket });
  const misses: QueueMiss[] = [];
  nic.nic.iotlbMisses$.subscribe((miss) => misses.push(miss));
  nic.setUp(FEATURES);
  /** Tells where one queue's rings are, or its buffers. */
  const tell = (address: number, access: IotlbAccess = 3) => {
    const userAddress = address < USER_BASE ? address - GUEST_BASE + USER_BASE : address;
    nic.nic.updateIotlb({ address, size: MEBIBYTE, userAddress, access });
    nic.turns.settle();
  };
  const rings = USER_BASE + TRANSMIT;
  return { ...nic, socket, misses, tell, rings, buffers: GUEST_BASE + TRANSMIT };
}

t.test(
  'B10 a queue begins when its rings are known, and asks for one thing at a time',
  async (t) => {
    const { nic, run, misses, tell, rings, buffers, ...rest } = setUp();
    run();
    t.same(
      misses.map(({ queue, access }) => [queue, access]),
      [
        [0, 1],
        [1, 1],
      ],
    );
    t.equal(rest.transmit.usedFlags, 0);
    rest.offerFrames([frame(1), frame(2)], HEADER);
    rest.turns.settle();
    t.equal(rest.socket.sent.length, 0);
    tell(rings);
    t.match(misses.at(-1), { queue: 1, access: 1 }, 'then a buffer');
    t.equal(rest.socket.sent.length, 0);
    const asked = misses.length;
    tell(buffers + 0x80_0000);
    t.equal(misses.length, asked, 'an update of something else changes nothing');
    tell(buffers);
    t.same(rest.socket.sent, [frame(1), frame(2)]);
    t.equal(rest.transmit.usedIndex, 2);
    t.same(rest.faults, []);
    const late: QueueMiss[] = [];
    nic.iotlbMisses$.subscribe((miss) => late.push(miss));
    t.match(late, [{ queue: 0 }], 'who comes late hears of what is still missing');
    await nic.close();
  },
);

t.test('B10 T29 a buffer is looked for again where only its translation has changed', async (t) => {
  const { nic, run, misses, tell, rings, buffers, ...rest } = setUp();
  run();
  tell(rings);
  tell(buffers);
  rest.offerFrames([frame(1)], HEADER);
  rest.turns.settle();
  const { usedIndex } = rest.transmit;
  nic.invalidateIotlb(buffers, MEBIBYTE);
  rest.offerFrames([frame(2)], HEADER);
  rest.turns.settle();
  t.equal(rest.socket.sent.length, 1, 'not read where it was');
  t.match(misses.at(-1), { queue: 1, access: 1 });
  t.equal(rest.transmit.usedIndex, usedIndex);
  // The same address means the other ring's memory now, where there are sevens.
  const elsewhere = {
    address: buffers,
    size: MEBIBYTE,
    userAddress: USER_BASE,
    access: 3,
  } as const;
  rest.receive.bytes.fill(7, 0x1_0000);
  nic.updateIotlb(elsewhere);
  rest.turns.settle();
  t.same(rest.socket.sent[1], frame(7));
  nic.updateIotlb({ ...elsewhere, userAddress: USER_BASE + TRANSMIT });
  rest.offerFrames([frame(3)], HEADER);
  rest.turns.settle();
  t.same(rest.socket.sent[2], frame(3), 'an update in place of another counts too');
  await nic.close();
});

t.test('B10 what may not be accessed is a fault, and stays one until the next kick', async (t) => {
  const { nic, run, misses, tell, rings, buffers, ...rest } = setUp();
  run();
  tell(rings, 1);
  t.match(rest.faults, [{ queue: 1, error: { code: 'EPERM' } }], 'the used ring must be written');
  tell(rings);
  rest.offerFrames([frame(1)], HEADER);
  rest.turns.settle();
  tell(buffers, 2);
  t.match(rest.faults[1], { queue: 1, error: { code: 'EPERM' } });
  t.equal(rest.socket.sent.length, 0);
  tell(buffers);
  rest.port(1).kick.signal();
  rest.turns.settle();
  t.equal(rest.socket.sent.length, 1);
  await nic.close();
});

t.test(
  'B10 C13 completions that come while the ring is parked are published after it',
  async (t) => {
    const socket = new ReferenceSocket();
    const { nic, run, tell, rings, buffers, ...rest } = setUp(socket);
    run();
    tell(rings);
    tell(buffers);
    rest.offerFrames([frame(1, 300), frame(2, 300)], HEADER);
    rest.turns.settle();
    t.equal(socket.out.length, 2);
    nic.invalidateIotlb(rings, MEBIBYTE);
    socket.completeAll();
    rest.turns.settle();
    t.equal(rest.transmit.usedIndex, 0, 'the ring is not touched');
    tell(rings);
    t.equal(rest.transmit.usedIndex, 2);
    t.same(rest.faults, []);
    await nic.close();
  },
);

t.test('B10 T16 a queue stops at once although its ring is not mapped', async (t) => {
  const socket = new ReferenceSocket();
  const { nic, run, tell, rings, buffers, ...rest } = setUp(socket);
  run();
  tell(rings);
  tell(buffers);
  rest.offerFrames([frame(1, 300), frame(2, 300)], HEADER);
  rest.turns.settle();
  nic.invalidateIotlb(0, 0);
  socket.completeAll();
  rest.turns.settle();
  nic.runQueue(1, 'stopped');
  await nic.queueSettled(1);
  t.equal(nic.vringBase(1), 2);
  t.match(
    rest.faults,
    [{ queue: 1, error: { code: 'EFAULT' } }],
    'two frames cannot be given back',
  );
  nic.runQueue(1, 'running');
  tell(rings);
  t.equal(rest.transmit.usedIndex, 0, 'nor are they given back later');
  await nic.close();
});

t.test('B10 B8 writes are logged by guest-physical address', async (t) => {
  const { nic, run, tell, rings, buffers, ...rest } = setUp();
  const bits = new Uint8Array(1024);
  nic.setLog(new DirtyLog(new ArrayBufferMapping(bits.buffer)));
  nic.setFeatures(FEATURES | FEATURE.LOG_ALL);
  const { addresses } = rest.transmit;
  nic.setVringAddresses(1, {
    descriptorTable: addresses.descriptorTable + TRANSMIT,
    availableRing: addresses.availableRing + TRANSMIT,
    usedRing: addresses.usedRing + TRANSMIT,
    logAddress: 0x7777_0000_0000, // an address of the driver's too: of no use
    flags: 1,
  });
  run();
  tell(USER_BASE);
  tell(GUEST_BASE);
  tell(rings);
  tell(buffers);
  rest.offerBuffers(1, 1000);
  rest.socket.toReceive.push(frame(5));
  rest.socket.readable.next();
  rest.offerFrames([frame(1)], HEADER);
  rest.turns.settle();
  t.equal(rest.receive.usedIndex, 1);
  t.equal(rest.transmit.usedIndex, 1);
  const pages = new Set<number>();
  for (const [byte, value] of bits.entries()) {
    for (let bit = 0; bit < 8; bit += 1) if ((value >> bit) & 1) pages.add(byte * 8 + bit);
  }
  const buffer = rest.receive.address(0) / 4096;
  const used = (GUEST_BASE + TRANSMIT + (addresses.usedRing - USER_BASE)) / 4096;
  t.same([...pages], [buffer, used]);
  await nic.close();
});

t.test('B10 addresses cannot change their meaning under a queue that runs', async (t) => {
  const socket = new ReferenceSocket();
  const { nic, run, tell, rings, buffers, ...rest } = setUp(socket);
  run();
  t.throws(() => nic.setFeatures(FEATURE.VERSION_1), { code: 'EBUSY' });
  t.equal(nic.features, FEATURES);
  tell(rings);
  tell(buffers);
  rest.offerFrames([frame(1, 300)], HEADER);
  rest.turns.settle();
  for (const queue of [0, 1]) nic.runQueue(queue, 'stopped');
  nic.setFeatures(FEATURE.VERSION_1); // although a frame is still out
  socket.completeAll();
  await nic.queueSettled(1);
  t.same(rest.faults, []);
  await nic.close();
});
