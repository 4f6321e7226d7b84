import { FEATURE, LocalEvent, link, loopback, type PacketSocket, VhostNet } from '@rxvhost/core';
import fc from 'fast-check';
import t from 'tap';
import {
  GuestMemoryArena,
  GuestNic,
  HostileQueue,
  NetFeature,
  NumberedFrameChecker,
  NumberedFrames,
  VirtualIommu,
} from '../src/index.js';
import { plainRegion } from './support/arena.js';
import { MODERN, sendAll, turn, until } from './support/nics.js';

/** Frames and rings of a guest behind an IOMMU, in process. */

t.setTimeout(120_000);

const A = Uint8Array.of(2, 0, 0, 0, 0, 1);
const B = Uint8Array.of(2, 0, 0, 0, 0, 2);

interface Machine {
  readonly nic: GuestNic;
  readonly device: VhostNet;
  readonly iommu: VirtualIommu;
  readonly checker: NumberedFrameChecker;
  readonly faults: string[];
  close(): Promise<void>;
}

function machine(
  backend: PacketSocket,
  { later, features = MODERN }: { later?: (answer: () => void) => void; features?: bigint } = {},
): Machine {
  // Neighbours for the driver, far from one another in the front-end.
  const arena = new GuestMemoryArena([
    plainRegion(0x10_0000, 0x7f00_0000_0000, 1 << 20),
    plainRegion(0x20_0000, 0x3300_0000_0000, 7 << 20),
  ]);
  const makeEvent = () => new LocalEvent();
  const nic = new GuestNic(arena, { features, makeEvent, queueSize: 64 });
  const device = new VhostNet({ backends: backend, iommu: true });
  const faults: string[] = [];
  device.errors$.subscribe(({ queue, error }) => faults.push(`${queue} ${error.code}`));
  const iommu = new VirtualIommu(device, arena, later);
  iommu.plugIn(nic);
  const checker = new NumberedFrameChecker();
  nic.driver.frames$.subscribe((batch) => {
    for (const frame of batch) checker.receive(frame);
  });
  nic.start();
  const close = async () => {
    iommu.close();
    await device.close();
    nic.close();
  };
  return { nic, device, iommu, checker, faults, close };
}

t.test('B10 a guest behind an IOMMU sends and receives, asked for page by page', async (t) => {
  for (const later of [undefined, (answer: () => void) => void setImmediate(answer)]) {
    const guest = machine(loopback(), later && { later });
    const frames = new NumberedFrames(A, B);
    const sent = Array.from({ length: 300 }, () => frames.make(1000));
    await sendAll(guest.nic, sent);
    await until(() => guest.checker.intact === 300);
    t.ok(guest.checker.flawless);
    t.same(guest.faults, []);
    t.ok(guest.iommu.misses.length > 10, `${guest.iommu.misses.length} misses`);
    t.same(new Set(guest.iommu.misses.map(({ access }) => access)), new Set([1, 2]));
    await guest.close();
  }
});

t.test('B10 T29 frames stay intact while mappings come and go under the rings', async (t) => {
  const step = fc.oneof(
    fc.record({ kind: fc.constant('send' as const), count: fc.integer({ min: 1, max: 40 }) }),
    fc.record({ kind: fc.constant('flush' as const), count: fc.constant(0) }),
    fc.record({ kind: fc.constant('forget' as const), count: fc.nat(0x7f) }),
    fc.record({ kind: fc.constant('turn' as const), count: fc.integer({ min: 1, max: 4 }) }),
  );
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { maxLength: 30 }),
      fc.boolean(),
      fc.boolean(),
      fc.constantFrom(0n, NetFeature.RING_PACKED, NetFeature.RING_PACKED | NetFeature.IN_ORDER),
      async (steps, mergeable, atOnce, ring) => {
        const features = MODERN | ring | (mergeable ? NetFeature.MRG_RXBUF : 0n);
        const later = (answer: () => void) => void setImmediate(answer);
        const options = atOnce ? { features } : { features, later };
        const [left, right] = link();
        const guests = [machine(left, options), machine(right, options)] as const;
        const sources = [new NumberedFrames(A, B), new NumberedFrames(B, A)];
        let sent = 0;
        const sending: Promise<void>[] = [];
        for (const { kind, count } of steps) {
          if (kind === 'send') {
            sent += count;
            for (const [index, { nic }] of guests.entries()) {
              const frames = Array.from({ length: count }, () => sources[index]?.make(600));
              const all = frames.filter((frame) => frame !== undefined);
              await Promise.all(sending.splice(0));
              sending.push(sendAll(nic, all));
            }
          } else if (kind === 'flush') {
            for (const { iommu } of guests) iommu.flush();
          } else if (kind === 'forget') {
            // Some page, perhaps a ring's: the device has to ask again before it goes on.
            for (const { device } of guests) {
              device.invalidateIotlb(0x10_0000 + count * 4096 - 100, 200);
            }
          } else {
            await turn(count);
          }
        }
        await Promise.all(sending);
        const arrived = () => guests.every(({ checker }) => checker.intact === sent);
        const returned = () => guests.every(({ nic }) => nic.driver.pendingFrames() === 0);
        try {
          await until(() => arrived() && returned(), 30_000);
          for (const { faults, checker } of guests) {
            if (faults.length > 0 || !checker.flawless) throw new Error(JSON.stringify(faults));
          }
        } finally {
          for (const guest of guests) await guest.close();
        }
      },
    ),
    { numRuns: 100 },
  );
  t.pass('every frame arrived once, in order');
});

t.test('B10 T29 an invalidated ring is not touched any more when the call returns', async (t) => {
  const guest = machine(loopback());
  await sendAll(guest.nic, [new NumberedFrames(A, B).make(100)]);
  await until(() => guest.checker.intact === 1);
  const { queue } = guest.nic.ring(1);
  const { arena } = guest.iommu;
  const used = queue.addresses.usedRing;
  guest.iommu.answering = false;
  guest.iommu.unmap(used);
  const before = [...arena.bytes(used, 64)];
  guest.nic.driver.send(new Uint8Array(100));
  guest.nic.ring(1).kick.signal();
  await turn(5);
  t.same([...arena.bytes(used, 64)], before, 'no used entry, no flag');
  t.match(guest.iommu.misses.at(-1), { queue: 1 }, 'the device asks for it');
  t.same(guest.faults, []);
  const asked = guest.iommu.misses.length;
  await turn(5);
  t.equal(guest.iommu.misses.length, asked, 'and not again by itself');
  guest.iommu.answering = true;
  guest.iommu.map(used);
  const miss = guest.iommu.misses.at(-1);
  if (miss !== undefined) guest.iommu.answer(miss);
  await until(() => guest.nic.driver.pendingFrames() === 0);
  t.pass('the update resumes the queue without a kick');
  await guest.close();
});

t.test('B10 T29 a buffer is not read or written once its page is invalidated', async (t) => {
  const guest = machine(loopback());
  const frames = new NumberedFrames(A, B);
  await sendAll(guest.nic, [frames.make(100)]);
  await until(() => guest.checker.intact === 1);
  guest.iommu.answering = false;
  guest.iommu.flush();
  guest.nic.driver.send(frames.make(100));
  await turn(5);
  t.equal(guest.checker.intact, 1);
  guest.iommu.answering = true;
  const waiting = guest.iommu.misses.slice(-2);
  for (const miss of waiting) guest.iommu.answer(miss);
  await until(() => guest.checker.intact === 2);
  t.same(guest.faults, []);
  await guest.close();
});

t.test(
  'B10 T29 translations of the last driver are forgotten when the last queue stops',
  async (t) => {
    const guest = machine(loopback());
    await sendAll(guest.nic, [new NumberedFrames(A, B).make(100)]);
    await until(() => guest.checker.intact === 1);
    for (const { index } of guest.nic.rings) guest.device.runQueue(index, 'stopped');
    const asked = guest.iommu.misses.length;
    for (const { index } of guest.nic.rings) guest.device.runQueue(index, 'running');
    await turn(3);
    t.ok(guest.iommu.misses.length > asked, 'everything is asked for anew');
    await guest.close();
  },
);

t.test('B10 addresses that nobody maps stop a queue, once for each kick', async (t) => {
  const arena = new GuestMemoryArena([plainRegion(0x10_0000, 0x7f00_0000_0000, 1 << 20)]);
  const queue = new HostileQueue(arena, 8);
  const kick = new LocalEvent();
  const device = new VhostNet({ iommu: true, backends: loopback() });
  const faults: string[] = [];
  device.errors$.subscribe(({ queue, error }) => faults.push(`${queue} ${error.code}`));
  const iommu = new VirtualIommu(device, arena);
  device.setOwner();
  device.setFeatures(FEATURE.VERSION_1 | FEATURE.IOMMU_PLATFORM);
  iommu.shareMemory();
  iommu.startRing({ index: 1, queue, kick, call: new LocalEvent() });
  await turn(3);
  queue.setDescriptor(0, { address: 0x66_0000_0000n, length: 100, flags: 0, next: 0 });
  queue.offer(0);
  const before = iommu.misses.length;
  for (let round = 1; round <= 3; round += 1) {
    kick.signal();
    await turn(20);
    t.same(faults, Array(round).fill('1 EFAULT'), 'refused: a fault of the queue');
    t.equal(iommu.misses.length, before + round);
  }
  iommu.answering = false;
  for (let round = 0; round < 3; round += 1) {
    kick.signal();
    await turn(20);
  }
  t.ok(iommu.misses.length <= before + 6, 'never answered: no more than a miss for each kick');
  t.equal(faults.length, 3);
  await device.close();
});

t.test('B10 without IOMMU_PLATFORM there is no IOTLB to tell', async (t) => {
  const device = new VhostNet({ iommu: true });
  device.setOwner();
  const range = { address: 0, size: 4096, userAddress: 0, access: 3 } as const;
  t.throws(() => device.updateIotlb(range), { code: 'EFAULT' });
  t.throws(() => device.invalidateIotlb(0, 0), { code: 'EFAULT' });
  device.setFeatures(FEATURE.IOMMU_PLATFORM | FEATURE.VERSION_1);
  t.throws(() => device.updateIotlb({ ...range, size: 0 }), { code: 'EINVAL' });
  device.updateIotlb(range);
  device.invalidateIotlb(0, 0);
  await device.close();
  t.equal(new VhostNet().offeredFeatures & FEATURE.IOMMU_PLATFORM, 0n, 'offered only on request');
});
