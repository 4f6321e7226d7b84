import type { PacketBatch } from '@rxvhost/core';
import fc from 'fast-check';
import t from 'tap';
import {
  closeFd,
  FrameKeep,
  readFrames,
  receiveFrames,
  sendWithFds,
  socketPair,
} from '../src/index.js';
import {
  batchOf,
  fill,
  framesIn,
  type GuestMemory,
  guestMemory,
  row,
} from './support/guest-memory.js';

const SIZE = 1 << 20;
/** What a chain may be long: shorter than most frames, so that they run on. */
const SIZES = [64, 100, 512, 1526] as const;

let memory: GuestMemory;
let twin: GuestMemory;
t.before(() => {
  memory = guestMemory(SIZE);
  twin = guestMemory(SIZE);
});
t.teardown(() => {
  memory.mapping.release();
  twin.mapping.release();
});

/** Both ways of receiving, each with what it keeps from call to call. */
const receivers = [
  {
    name: 'readFrames',
    make: () => {
      const keep = new FrameKeep();
      return (fd: number, batch: PacketBatch) => readFrames(fd, batch, keep);
    },
  },
  { name: 'receiveFrames', make: () => receiveFrames },
];

/** What a queue does with its rings: some batches of chains, one after the other. */
const batches = fc.array(
  fc.record({
    chains: fc.integer({ min: 1, max: 24 }),
    length: fc.constantFrom(...SIZES),
    largest: fc.boolean(),
  }),
  { minLength: 1, maxLength: 8 },
);

/** A batch that has room for more chains than it has, as a queue's. */
function batchIn(where: GuestMemory, skip: number, chains: number, length: number) {
  const batch = batchOf(where, skip, row(64, skip + length, 2048));
  batch.count = chains;
  return batch;
}

for (const { name, make } of receivers) {
  t.test(`C7 ${name} fills, keeps and drops just as PacketBatch.deliver does`, async (t) => {
    const content = new Uint8Array(70_000);
    fill(content, 11);
    fc.assert(
      fc.property(
        batches,
        fc.constantFrom(0, 10, 12),
        fc.constantFrom(1, 3, 256),
        fc.array(fc.oneof(fc.integer({ min: 1, max: 400 }), fc.integer({ min: 1, max: 20_000 })), {
          maxLength: 12,
        }),
        (rounds, skip, chainsPerFrame, lengths) => {
          const [near, far] = socketPair('datagram');
          const frames = lengths.map((length, at) => content.subarray(at, at + length));
          for (const frame of frames) sendWithFds(far, frame, []);
          const receive = make();
          let same = true;
          for (const { chains, length, largest } of rounds) {
            const batch = batchIn(memory, skip, chains, length);
            const model = batchIn(twin, skip, chains, length);
            for (const each of [batch, model]) {
              each.chainsPerFrame = chainsPerFrame;
              each.largest = largest;
            }
            const filled = receive(near, batch);
            let expected = 0;
            // Where no chain is left nobody looks whether there is another frame.
            while (expected < model.count && frames.length > 0) {
              if (model.deliver(frames[0] as Uint8Array) === 'full') break;
              frames.shift();
              expected = model.frameChains.subarray(0, model.frameCount).reduce((a, b) => a + b, 0);
            }
            same &&=
              filled === expected &&
              batch.frameCount === model.frameCount &&
              batch.oversized === model.oversized &&
              batch.wantsMore === model.wantsMore &&
              batch.frameChains.join() === model.frameChains.join() &&
              framesIn(batch).every((frame, index) =>
                Buffer.from(frame).equals(framesIn(model)[index] as Uint8Array),
              );
          }
          closeFd(near);
          closeFd(far);
          return same;
        },
      ),
      { numRuns: 300 },
    );
    t.pass('held for every case');
  });

  t.test(`C7 ${name} loses nothing to a queue that is given a few buffers at a time`, async (t) => {
    const [near, far] = socketPair('datagram');
    const receive = make();
    const lengths = [60, 9000, 1500, 30_000, 60, 9000, 65_000, 60];
    for (const [mark, length] of lengths.entries()) {
      sendWithFds(far, new Uint8Array(length).fill(mark + 1), []);
    }
    const got: number[] = [];
    let calls = 0;
    for (let chains = 1; got.length < lengths.length && calls < 1000; calls += 1) {
      const batch = batchIn(memory, 12, chains, 1526);
      batch.chainsPerFrame = 256;
      receive(near, batch);
      for (const frame of framesIn(batch)) {
        t.ok(frame.every((byte) => byte === got.length + 1));
        got.push(frame.length);
      }
      t.equal(batch.oversized, 0);
      t.ok(batch.frameCount > 0 || batch.wantsMore);
      // One more each time it is asked for, as a guest that adds buffers slowly.
      chains = batch.wantsMore && batch.frameCount === 0 ? chains + 1 : 1;
    }
    t.same(got, lengths);
    closeFd(near);
    closeFd(far);
  });
}

t.test('a frame that was kept comes first, and its keep tells that it waits', async (t) => {
  const [near, far] = socketPair('datagram');
  const keep = new FrameKeep();
  for (const length of [3000, 60]) sendWithFds(far, new Uint8Array(length).fill(length & 0xff), []);
  const few = batchIn(memory, 0, 2, 1024);
  few.chainsPerFrame = 4;
  t.equal(readFrames(near, few, keep), 0);
  t.ok(few.wantsMore);
  t.ok(keep.waits);
  const more = batchIn(memory, 0, 8, 1024);
  more.chainsPerFrame = 4;
  t.equal(readFrames(near, more, keep), 4);
  t.same([...more.frameLengths.subarray(0, 2)], [3000, 60]);
  t.notOk(keep.waits);

  sendWithFds(far, new Uint8Array(3000), []);
  readFrames(near, few, keep);
  keep.clear();
  t.notOk(keep.waits, 'let go');
  closeFd(near);
  closeFd(far);
});
