import fc from 'fast-check';
import t from 'tap';
import {
  BufferList,
  type DriverQueue,
  type DriverQueueOptions,
  GuestMemoryArena,
  NO_CHAIN,
  PackedDriverQueue,
  SplitDriverQueue,
} from '../src/index.js';
import { plainArena, plainRegion } from './support/arena.js';
import type { ModelChain, ModelDevice } from './support/model-device.js';
import { ModelPackedDevice } from './support/model-packed-device.js';
import { ModelSplitDevice } from './support/model-split-device.js';

/** A ring layout: how its driver's side is made, and the model of its device's side. */
interface Layout {
  readonly name: string;
  readonly sizes: readonly number[];
  readonly badSizes: readonly number[];
  queue(arena: GuestMemoryArena, size: number, options?: DriverQueueOptions): DriverQueue;
  device(arena: GuestMemoryArena, queue: DriverQueue, eventIndex: boolean): ModelDevice;
}

const SPLIT: Layout = {
  name: 'split',
  sizes: [1, 2, 8, 16],
  badSizes: [0, 3, 65536],
  queue: (arena, size, options) => new SplitDriverQueue(arena, size, options),
  device: (arena, queue, eventIndex) => new ModelSplitDevice(arena, queue, eventIndex),
};
const PACKED: Layout = {
  name: 'packed',
  sizes: [1, 2, 3, 7, 16],
  badSizes: [0, 1.5, 32769],
  queue: (arena, size, options) => new PackedDriverQueue(arena, size, options),
  device: (arena, queue, eventIndex) => new ModelPackedDevice(arena, queue, eventIndex),
};
const LAYOUTS = [SPLIT, PACKED];

const operation = fc.oneof(
  fc.record({
    kind: fc.constant('add' as const),
    readable: fc.nat(3),
    writable: fc.nat(3),
    indirect: fc.boolean(),
  }),
  fc.record({ kind: fc.constant('publish' as const) }),
  fc.record({ kind: fc.constant('device takes' as const) }),
  fc.record({
    kind: fc.constant('device completes' as const),
    which: fc.nat(),
    written: fc.nat(4000),
    chains: fc.integer({ min: 1, max: 4 }),
  }),
  fc.record({ kind: fc.constant('driver takes' as const) }),
  fc.record({ kind: fc.constant('device wants kicks' as const), wanted: fc.boolean() }),
  fc.record({ kind: fc.constant('driver wants calls' as const), after: fc.nat(3) }),
  fc.record({ kind: fc.constant('driver wants no calls' as const) }),
);

for (const layout of LAYOUTS) {
  for (const inOrder of [false, true]) {
    t.test(
      `every chain reaches the device as it was added and comes back once, ${layout.name}${inOrder ? ' in order' : ''}`,
      async (t) => {
        fc.assert(
          fc.property(
            fc.constantFrom(...layout.sizes),
            fc.boolean(),
            fc.array(operation, { maxLength: 120, size: 'max' }),
            (size, eventIndex, operations) => {
              const arena = plainArena(1 << 16);
              const queue = layout.queue(arena, size, { eventIndex, inOrder, indirectEntries: 6 });
              const device = layout.device(arena, queue, eventIndex);
              device.wantKicks(true);
              const list = new BufferList();
              const added = new Map<number, object[]>();
              const order: number[] = [];
              const held: ModelChain[] = [];
              const completed: [number, number][] = [];
              let nextAddress = 2 ** 33;
              let kicksWanted = true;
              let unpublished = 0;
              // What the driver is owed: a call once more than this many completions wait for it.
              let callAfter: number | undefined;
              let called = false;

              for (const step of operations) {
                switch (step.kind) {
                  case 'add': {
                    const count = step.readable + step.writable;
                    if (count === 0 || (!step.indirect && count > size)) break;
                    const expected: object[] = [];
                    list.clear();
                    for (let index = 0; index < count; index += 1) {
                      const writable = index >= step.readable;
                      const buffer = { address: nextAddress, length: index + 1, writable };
                      if (writable) list.addWritable(buffer.address, buffer.length);
                      else list.addReadable(buffer.address, buffer.length);
                      expected.push(buffer);
                      nextAddress += 4096;
                    }
                    const room = queue.freeDescriptors;
                    const id = queue.add(list, step.indirect);
                    const needed = step.indirect ? 1 : count;
                    if (needed > room) {
                      if (id !== NO_CHAIN) throw new Error('taken without room');
                      break;
                    }
                    if (added.has(id)) throw new Error(`id ${id} is in use`);
                    added.set(id, expected);
                    order.push(id);
                    unpublished += 1;
                    break;
                  }
                  case 'publish': {
                    const kick = queue.publish();
                    if (unpublished === 0 && kick) throw new Error('kick for nothing');
                    // A packed ring's event comes round again after two rounds: more kicks than wanted.
                    const wrong = kick !== kicksWanted && !(kick && layout === PACKED);
                    if (unpublished > 0 && wrong) throw new Error('wrong kick decision');
                    // An event index names one entry; once passed, it asks for nothing more.
                    if (unpublished > 0 && eventIndex) kicksWanted = false;
                    unpublished = 0;
                    break;
                  }
                  case 'device takes': {
                    if (!device.waiting) break;
                    const chain = device.take();
                    if (chain.id !== order.shift()) throw new Error('taken out of order');
                    if (JSON.stringify(chain.buffers) !== JSON.stringify(added.get(chain.id))) {
                      throw new Error('the device sees other buffers');
                    }
                    held.push(chain);
                    break;
                  }
                  case 'device completes': {
                    if (held.length === 0) break;
                    const before = completed.length;
                    const chains = inOrder
                      ? held.splice(0, step.chains)
                      : held.splice(step.which % held.length, 1);
                    for (const [index, { id, buffers }] of chains.entries()) {
                      const last = index === chains.length - 1;
                      completed.push([id, last ? step.written : writable(buffers)]);
                    }
                    const call = device.completeBatch(chains, step.written);
                    if (
                      callAfter !== undefined &&
                      completed.length > callAfter &&
                      before <= callAfter
                    ) {
                      if (!call && !called)
                        throw new Error('a call that the driver waits for is missing');
                      callAfter = undefined;
                    }
                    called ||= call;
                    break;
                  }
                  case 'driver takes': {
                    const id = queue.takeUsed();
                    const expected = completed.shift();
                    if (id !== (expected?.[0] ?? NO_CHAIN)) throw new Error(`took ${id}`);
                    if (expected !== undefined) {
                      if (queue.usedLength !== expected[1]) throw new Error('wrong length');
                      added.delete(id);
                      // The event index does not move with the driver: what it asked for is moot now.
                      callAfter = undefined;
                    }
                    break;
                  }
                  case 'device wants kicks':
                    // Between publishes only: what is added but not published is not there for the device.
                    device.wantKicks(step.wanted);
                    kicksWanted = step.wanted;
                    break;
                  case 'driver wants calls': {
                    const more = queue.enableCallbacks(step.after);
                    if (more !== completed.length > step.after) throw new Error('wrong re-check');
                    callAfter = more ? undefined : step.after;
                    called = false;
                    break;
                  }
                  case 'driver wants no calls':
                    queue.disableCallbacks();
                    callAfter = undefined;
                    break;
                }
                if (queue.outstanding !== added.size)
                  throw new Error('wrong count of outstanding chains');
                if (queue.fault !== undefined) throw queue.fault;
              }
            },
          ),
          { numRuns: 1500 },
        );
        t.pass('1500 random histories');
      },
    );
  }
}

const writable = (buffers: ModelChain['buffers']): number =>
  buffers.reduce((sum, buffer) => sum + (buffer.writable ? buffer.length : 0), 0);

for (const layout of LAYOUTS)
  for (const eventIndex of [false, true]) {
    const mode = eventIndex ? 'with EVENT_IDX' : 'with flags';
    t.test(`T41 indices wrap and no notification is lost, ${layout.name} ${mode}`, async (t) => {
      const arena = plainArena(1 << 16);
      const queue = layout.queue(arena, 4, { eventIndex });
      const device = layout.device(arena, queue, eventIndex);
      const list = new BufferList().addReadable(0x1000, 64);
      let lostKicks = 0;
      let lostCalls = 0;
      for (let round = 0; round < 70_000; round += 1) {
        device.wantKicks(true);
        const id = queue.add(list);
        if (!queue.publish()) lostKicks += 1;
        if (queue.enableCallbacks()) throw new Error('nothing is there yet');
        if (!device.complete(device.take(), round & 0xff)) lostCalls += 1;
        if (queue.takeUsed() !== id || queue.usedLength !== (round & 0xff)) throw new Error('lost');
      }
      t.equal(lostKicks, 0, 'every kick that was asked for is asked of the caller');
      t.equal(lostCalls, 0, 'every call that was asked for is made');

      device.wantKicks(false);
      queue.disableCallbacks();
      queue.add(list);
      t.notOk(queue.publish(), 'no kick when the device wants none');
      t.notOk(device.complete(device.take(), 0), 'no call when the driver wants none');
      t.ok(queue.enableCallbacks(), 'enabling tells of what slipped in');
      t.end();
    });
  }

t.test('the ring takes exactly the bytes that the specification gives it', async (t) => {
  const at = { descriptorTable: 0x2010, availableRing: 0x8004, usedRing: 0xc004 };
  const areas = [
    { layout: SPLIT, size: 1, bytes: [16, 8, 14] },
    { layout: SPLIT, size: 2, bytes: [32, 10, 22] },
    { layout: SPLIT, size: 256, bytes: [4096, 518, 2054] },
    { layout: PACKED, size: 1, bytes: [16, 4, 4] },
    { layout: PACKED, size: 3, bytes: [48, 4, 4] },
    { layout: PACKED, size: 255, bytes: [4080, 4, 4] },
  ];
  for (const { layout, size, bytes } of areas) {
    const arena = new GuestMemoryArena([plainRegion(0x1000, 0x9000_0000, 1 << 18)]);
    const whole = arena.bytes(0x1000, 1 << 18);
    whole.fill(0xa5);
    const queue = layout.queue(arena, size, { eventIndex: true, addresses: at });
    const device = layout.device(arena, queue, true);
    const list = new BufferList(size);
    for (let index = 0; index < size; index += 1) list.addWritable(0x2_0000 + index, 1);
    for (let round = 0; round < 3; round += 1) {
      queue.add(list);
      queue.publish();
      device.wantKicks(true);
      device.complete(device.take(), 1);
      queue.takeUsed();
      queue.enableCallbacks();
    }
    for (const [index, address] of Object.values(at).entries()) {
      whole.fill(0xa5, address - 0x1000, address - 0x1000 + (bytes[index] ?? 0));
    }
    t.ok(
      whole.every((byte) => byte === 0xa5),
      `${layout.name}, size ${size}: nothing else was written`,
    );
  }
});

for (const layout of LAYOUTS)
  t.test(`callers and devices that break the rules are told, ${layout.name}`, async (t) => {
    const arena = plainArena();
    for (const size of layout.badSizes) {
      t.throws(() => layout.queue(arena, size), { code: 'EINVAL' }, `size ${size}`);
    }
    const queue = layout.queue(arena, 4, { indirectEntries: 2 });
    const device = layout.device(arena, queue, false);
    const list = new BufferList(8);
    t.throws(() => queue.add(list), { code: 'EINVAL' }, 'an empty chain');
    list.addReadable(1, 1).addReadable(2, 1).addReadable(3, 1);
    t.throws(() => queue.add(list, true), { code: 'EINVAL' }, 'a chain longer than its table');
    t.throws(() => list.addWritable(9, 1).addReadable(1, 1), { code: 'EINVAL' }, 'readable last');

    queue.add(list);
    queue.publish();
    device.complete({ id: 3, descriptors: 3, buffers: [] }, 0);
    t.equal(queue.takeUsed(), NO_CHAIN, 'an id that is not outstanding is not given out');
    t.match(queue.fault, { code: 'EPROTO' });
    queue.reset();
    t.equal(queue.fault, undefined, 'reset forgives');
  });

t.test('a split driver is told of a used index that runs ahead', async (t) => {
  for (const inOrder of [false, true]) {
    const arena = plainArena();
    const queue = new SplitDriverQueue(arena, 4, { inOrder });
    arena.writeUint16(queue.addresses.usedRing + 2, 9);
    t.equal(queue.takeUsed(), NO_CHAIN);
    t.match(queue.fault, { code: 'EPROTO' });
  }
  const arena = plainArena();
  const queue = new SplitDriverQueue(arena, 4, { inOrder: true });
  const list = new BufferList().addReadable(1, 1);
  queue.add(list);
  queue.add(list);
  queue.publish();
  new ModelSplitDevice(arena, queue, false).complete({ id: 1, descriptors: 1, buffers: [] }, 0);
  t.equal(queue.takeUsed(), NO_CHAIN, 'in order, an entry for more chains than the index covers');
  t.match(queue.fault, { code: 'EPROTO' });
});
