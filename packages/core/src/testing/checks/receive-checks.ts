import { expect, type ReceiveLayout } from '../exchange.js';
import { someTurns, until } from '../waiting.js';
import { type Check, withPeer } from './check.js';

const LAYOUTS: readonly ReceiveLayout[] = [
  { chains: 1 },
  { chains: 2, skip: 12 },
  { chains: 5, segments: [1, 2, 3, 50] },
  { chains: 3, skip: 10, segments: [7, 3, 64] },
  { chains: 20, skip: 12, segments: [12, 500] },
];
const SMALL_ROOM = 100;
const LONG = 400;

export const RECEIVE_CHECKS: readonly Check[] = [
  {
    name: 'every frame arrives once, whole and in order, at every size',
    applies: withPeer,
    async run(exchange) {
      for (let round = 0; round < 3; round += 1) {
        const frames = exchange.frames(exchange.lengths);
        if (round > 0) frames.reverse();
        await exchange.peer.inject(frames);
        await exchange.expectReceived(frames);
      }
    },
  },
  {
    name: 'with few chains the other frames wait; nothing outside the segments is written',
    applies: withPeer,
    async run(exchange) {
      const lengths = [exchange.smallest, 60, 61, 99, Math.min(700, exchange.largest), 60, 60];
      const room = Math.min(1514, exchange.largest);
      for (const layout of LAYOUTS) {
        const frames = exchange.frames(lengths);
        await exchange.peer.inject(frames);
        await exchange.expectReceived(frames, { ...layout, room });
      }
    },
  },
  {
    name: 'a frame that fits no buffer is counted and dropped, the next one arrives',
    applies: withPeer,
    async run(exchange) {
      const frames = exchange.frames([60, LONG, 61, LONG, LONG, 62]);
      await exchange.peer.inject(frames);
      const came: Uint8Array[] = [];
      let oversized = 0;
      await until(() => {
        const received = exchange.receive({ room: SMALL_ROOM, chains: 2 });
        came.push(...received.frames);
        oversized += received.oversized;
        return came.length >= 3 && oversized >= 3;
      }, exchange.patience);
      await someTurns();
      expect(exchange.receive({ room: SMALL_ROOM }).frames.length === 0, 'a frame came twice');
      expect(came.length === 3, `${came.length} frames came, 3 fit`);
      for (const [index, length] of [60, 61, 62].entries()) {
        expect(came[index]?.length === length, 'the frames that fit are not those that came');
      }
      expect(oversized === 3, `oversized says ${oversized}, 3 frames did not fit`);
    },
  },
  {
    name: 'a frame fills as many chains as it needs, where it may',
    applies: withPeer,
    async run(exchange) {
      const layout = { room: SMALL_ROOM, chainsPerFrame: 256, chains: 64 };
      const longest = Math.min(1400, exchange.largest);
      const frames = exchange.frames([60, LONG, 99, LONG, 60, longest]);
      await exchange.peer.inject(frames);
      await exchange.expectReceived(frames, layout);
    },
  },
  {
    name: 'a frame that needs more chains than there are waits for a larger batch',
    applies: withPeer,
    async run(exchange) {
      const merged = { room: SMALL_ROOM, chainsPerFrame: 256 };
      const frames = exchange.frames([LONG, 60, LONG, 61]);
      await exchange.peer.inject(frames);
      const tooFew = await until(
        () => exchange.receive({ ...merged, chains: 2 }).wantsMore,
        exchange.patience,
      );
      expect(tooFew, 'a frame that needs more chains than there are did not set wantsMore');
      await exchange.expectReceived(frames, { ...merged, chains: 7 });
    },
  },
  {
    name: 'a frame that is longer than the largest batch is dropped and counted',
    applies: withPeer,
    async run(exchange) {
      const [long, short] = exchange.frames([LONG, 60]);
      await exchange.peer.inject([long, short] as Uint8Array[]);
      const came: Uint8Array[] = [];
      let oversized = 0;
      await until(() => {
        const layout = { room: SMALL_ROOM, chains: 3, chainsPerFrame: 256, largest: true };
        const received = exchange.receive(layout);
        came.push(...received.frames);
        oversized += received.oversized;
        return came.length > 0;
      }, exchange.patience);
      expect(oversized === 1, `oversized says ${oversized}, 1 frame did not fit`);
      expect(came.length === 1 && came[0]?.length === 60, 'the next frame did not arrive');
    },
  },
];
