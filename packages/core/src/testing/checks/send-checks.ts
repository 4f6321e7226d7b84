import { type Exchange, expect, type SendLayout } from '../exchange.js';
import { MOST_CHAINS } from '../frame-memory.js';
import { type Check, withPeer } from './check.js';

/** What guests have done to their buffers: odd pieces, and a header that is split. */
const LAYOUTS: readonly SendLayout[] = [
  { first: 3 },
  { skip: 12 },
  { segments: [1] },
  { segments: [10, 4, 7, 200, 1] },
  { first: 1, skip: 10, segments: [7, 3, 64] },
  { first: 20, skip: 12, segments: [12, 500] },
];
/** Frames in the back-pressure check that are sent when the backend is not full any more. */
const FRAMES_AFTERWARDS = 100;
const SHORT_FRAME = 60;
const DEFAULT_FULL_AFTER = 10_000;

export const SEND_CHECKS: readonly Check[] = [
  {
    name: 'a sink takes every frame and says how long it was',
    applies: (options) => !withPeer(options),
    async run(exchange) {
      const frames = exchange.frames(exchange.lengths);
      for (const layout of [{}, ...LAYOUTS]) {
        const some = frames.slice(0, layout.segments?.[0] === 1 ? 1 : frames.length);
        expect(exchange.send(some, layout) === some.length, 'a sink did not take everything');
      }
      expect(exchange.receive().frames.length === 0, 'a sink gave a frame');
    },
  },
  {
    name: 'every frame goes out once, whole and in order, at every size',
    applies: withPeer,
    async run(exchange) {
      for (let round = 0; round < 3; round += 1) {
        const frames = exchange.frames(exchange.lengths);
        await exchange.sendAll(round === 0 ? frames : frames.reverse());
        await exchange.expectAtPeer(frames);
      }
      const single = exchange.frames([SHORT_FRAME]);
      await exchange.sendAll(single);
      await exchange.expectAtPeer(single);
    },
  },
  {
    name: 'what stands before `first` and within `skip` is left out, segments are joined',
    applies: withPeer,
    async run(exchange) {
      const lengths = [exchange.smallest, SHORT_FRAME, 99, Math.min(700, exchange.largest)];
      for (const layout of LAYOUTS) {
        const frames = exchange.frames(lengths);
        await exchange.sendAll(frames, layout);
        await exchange.expectAtPeer(frames);
      }
    },
  },
  {
    name: 'back-pressure loses, doubles and reorders nothing, and writable$ emits afterwards',
    applies: (options) => withPeer(options) && options.fullAfter !== false,
    async run(exchange) {
      await exchange.peer.pause?.();
      const sent = fillUp(exchange);
      await exchange.peer.resume?.();
      await exchange.becomesWritable();
      const rest = [
        ...sent.frames.slice(sent.count),
        ...exchange.frames(Array<number>(FRAMES_AFTERWARDS).fill(SHORT_FRAME)),
      ];
      await exchange.sendAll(rest);
      await exchange.expectAtPeer([...sent.frames.slice(0, sent.count), ...rest]);
    },
  },
];

/** Sends until the backend is full, within one turn. */
function fillUp(exchange: Exchange): { frames: Uint8Array[]; count: number } {
  const most = exchange.options.fullAfter || DEFAULT_FULL_AFTER;
  const frames: Uint8Array[] = [];
  for (let count = 0; count <= most; ) {
    const some = exchange.frames(Array<number>(MOST_CHAINS).fill(SHORT_FRAME));
    frames.push(...some);
    const taken = exchange.send(some);
    count += taken;
    if (taken < some.length) return { frames, count };
  }
  throw new Error(
    `not full after ${most} frames: set fullAfter to more, or to false if it never is`,
  );
}
