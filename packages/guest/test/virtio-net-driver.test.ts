import { FEATURE, LocalEvent, link, NullSocket } from '@rxvhost/core';
import fc from 'fast-check';
import t from 'tap';
import {
  type GuestNicOptions,
  NetFeature,
  NumberedFrameChecker,
  NumberedFrames,
  SplitDriverQueue,
  VirtioNetDriver,
} from '../src/index.js';
import { plainArena } from './support/arena.js';
import { ModelSplitDevice } from './support/model-split-device.js';
import { MODERN, plugged, sendAll, turn, until } from './support/nics.js';

t.setTimeout(120_000);

const A = Uint8Array.of(2, 0, 0, 0, 0, 1);
const B = Uint8Array.of(2, 0, 0, 0, 0, 2);

/** Two guests on one cable exchange frames of these lengths both ways; what was wrong, if anything. */
async function exchange(
  lengths: readonly number[],
  options: readonly [Partial<GuestNicOptions>, Partial<GuestNicOptions>],
): Promise<string | undefined> {
  const [left, right] = link();
  const guests = [plugged(left, options[0]), plugged(right, options[1])] as const;
  const checkers = guests.map(({ nic }) => {
    const checker = new NumberedFrameChecker();
    nic.driver.frames$.subscribe((batch) => {
      for (const frame of batch) checker.receive(frame);
    });
    return checker;
  });
  const errors: string[] = [];
  for (const { nic, device } of guests) {
    nic.driver.errors$.subscribe((error) => errors.push(error.message));
    device.errors$.subscribe(({ error }) => errors.push(error.message));
  }
  try {
    const sources = [new NumberedFrames(B, A), new NumberedFrames(A, B)] as const;
    const frames = sources.map((source) => lengths.map((length) => source.make(length)));
    await Promise.all(guests.map(({ nic }, index) => sendAll(nic, frames[index] ?? [])));
    await until(() => checkers.every(({ intact }) => intact === lengths.length)).catch(() => {});
    await until(() => guests.every(({ nic }) => nic.driver.pendingFrames() === 0)).catch(() => {});
    for (const [index, checker] of checkers.entries()) {
      const { intact, flawless } = checker;
      if (intact !== lengths.length || !flawless) {
        errors.push(`guest ${index}: ${JSON.stringify(checker)} of ${lengths.length}`);
      }
      const pending = guests[index]?.nic.driver.pendingFrames();
      if (pending !== 0) errors.push(`guest ${index}: ${pending} frames not given back`);
    }
  } finally {
    for (const guest of guests) await guest.close();
  }
  return errors.length === 0 ? undefined : errors.join('; ');
}

const shape = fc.record({
  headerDescriptors: fc.nat(12),
  frameDescriptors: fc.integer({ min: 1, max: 5 }),
});
const settings = fc
  .record({
    version1: fc.boolean(),
    eventIndex: fc.boolean(),
    indirect: fc.boolean(),
    packed: fc.boolean(),
    inOrder: fc.boolean(),
    queueSize: fc.constantFrom(32, 64, 256),
    transmitShape: shape,
    receiveShape: shape,
  })
  .map(({ version1, eventIndex, indirect, packed, inOrder, queueSize, ...rest }) => ({
    ...rest,
    // A packed ring may have any size.
    queueSize: packed ? queueSize - 9 : queueSize,
    indirect,
    indirectEntries: 17,
    features:
      (version1 ? FEATURE.VERSION_1 : 0n) |
      (eventIndex ? FEATURE.EVENT_IDX : 0n) |
      (indirect ? FEATURE.INDIRECT_DESC : 0n) |
      (packed ? FEATURE.RING_PACKED : 0n) |
      (inOrder ? FEATURE.IN_ORDER : 0n),
  }));

t.test(
  'T36 T52 frames pass whole and in order, however either guest lays out its chains',
  async (t) => {
    await fc.assert(
      fc.asyncProperty(
        fc.tuple(settings, settings),
        fc.array(fc.integer({ min: 26, max: 1514 }), { minLength: 1, maxLength: 200 }),
        async (options, lengths) => {
          const wrong = await exchange(lengths, options);
          if (wrong !== undefined) throw new Error(wrong);
        },
      ),
      { numRuns: 100 },
    );
    t.pass('100 random pairs of guests');
  },
);

t.test('a burst larger than every queue on the way loses nothing', async (t) => {
  const lengths = Array.from({ length: 20_000 }, (_, index) => 64 + ((index * 37) % 1451));
  t.equal(await exchange(lengths, [{}, { queueSize: 16 }]), undefined);
});

t.test(
  'C8 frames beyond one turn of the device follow in the next, on the same kick',
  async (t) => {
    const { nic, device, close } = plugged(new NullSocket(), { queueSize: 1024 });
    await turn(5);
    for (let index = 0; index < 1000; index += 1) nic.driver.enqueue(new Uint8Array(60));
    nic.driver.flush();
    await until(() => nic.driver.pendingFrames() === 0);
    t.match(device.statistics().queues[1], { frames: 1000, kicks: 1 });
    await close();
  },
);

t.test('T52 the header is as long as the features say, and num_buffers is 1', async (t) => {
  for (const [features, length] of [
    [0n, 10],
    [FEATURE.VERSION_1, 12],
  ] as const) {
    const [left, right] = link();
    const guests = [plugged(left, { features }), plugged(right, { features })] as const;
    t.equal(guests[0].nic.driver.headerLength, length);
    const headers: object[] = [];
    guests[1].nic.driver.frames$.subscribe((batch) => headers.push(batch.header(0)));
    guests[0].nic.driver.send(new Uint8Array(60).fill(7));
    await until(() => headers.length === 1);
    t.match(headers, [{ flags: 0, gsoType: 0, bufferCount: length === 12 ? 1 : 0 }]);
    for (const guest of guests) await guest.close();
  }
});

t.test('a full ring says so, and says when there is room again', async (t) => {
  const [left, right] = link({ frames: 8 });
  const sender = plugged(left, { queueSize: 4, features: MODERN });
  const frame = new Uint8Array(100).fill(1);
  let taken = 0;
  while (sender.nic.driver.send(frame)) taken += 1;
  t.equal(taken, 4, 'as many as the ring has entries');
  t.throws(() => sender.nic.driver.send(new Uint8Array(1515)), { code: 'EMSGSIZE' });
  t.throws(() => sender.nic.driver.send(new Uint8Array(0)), { code: 'EMSGSIZE' });
  let rooms = 0;
  sender.nic.driver.writable$.subscribe((room) => {
    rooms += 1;
    for (let index = 0; index < room && taken < 500; index += 1) {
      if (sender.nic.driver.send(frame)) taken += 1;
    }
    if (taken < 500) while (sender.nic.driver.send(frame)) taken += 1;
  });
  const receiver = plugged(right, { queueSize: 4 });
  await until(() => receiver.received.length === 500);
  t.equal(taken, 500);
  t.ok(rooms > 10, `${rooms} times`);
  t.match(sender.nic.driver.statistics(), { sentFrames: 500, sentBytes: 50_000 });
  t.match(receiver.nic.driver.statistics(), { receivedFrames: 500, receivedBytes: 50_000 });
  await sender.close();
  await receiver.close();
});

t.test('frames over several receive buffers are put together again', async (t) => {
  const arena = plainArena();
  const features = NetFeature.VERSION_1 | NetFeature.MRG_RXBUF;
  const makeLink = () => ({
    queue: new SplitDriverQueue(arena, 8),
    kick: new LocalEvent(),
    call: new LocalEvent(),
  });
  const links = { receive: makeLink(), transmit: makeLink() };
  const driver = new VirtioNetDriver(arena, links, { features, receiveBufferLength: 64 });
  const device = new ModelSplitDevice(arena, links.receive.queue, false);
  const received: Uint8Array[] = [];
  driver.frames$.subscribe((batch) => {
    for (const frame of batch) received.push(frame.slice());
  });
  driver.start();

  /** Gives the driver used buffers with these many bytes in each; the first says `buffers`. */
  const deliver = async (buffers: number, ...written: number[]) => {
    for (const [index, length] of written.entries()) {
      const chain = device.take();
      const address = chain.buffers[0]?.address ?? 0;
      arena.write(address, new Uint8Array(length).fill(index + 1));
      if (index === 0)
        arena.write(address, Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, buffers, 0));
      device.complete(chain, length);
    }
    links.receive.call.signal();
    await turn(3);
  };

  await deliver(1, 20);
  await deliver(3, 64, 64, 10);
  t.strictSame(
    received.map((frame) => [...frame]),
    [
      new Array(8).fill(1),
      [...new Array(52).fill(1), ...new Array(64).fill(2), ...new Array(10).fill(3)],
    ],
  );
  t.equal(links.receive.queue.outstanding, 8, 'every buffer is in the ring again');
  await deliver(2, 64);
  await deliver(0, 64);
  await deliver(1, 12);
  await deliver(1, 65);
  t.equal(received.length, 2, 'nothing is made of what the device got wrong');
  t.match(driver.statistics(), { drops: { badBufferCount: 2, badLength: 2 }, receivedFrames: 2 });
  let fault: { code: string } | undefined;
  driver.errors$.subscribe((error) => {
    fault = error;
  });
  device.complete({ id: 9, descriptors: 1, buffers: [] }, 1);
  links.receive.call.signal();
  await turn(3);
  t.match(fault, { code: 'EPROTO' }, 'a used entry that cannot be ends the queue');
  driver.close();
});
