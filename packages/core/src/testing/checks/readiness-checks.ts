import { expect } from '../exchange.js';
import { emission, someTurns, until } from '../waiting.js';
import { type Check, withPeer } from './check.js';

/** A poll may be wrong now and then; one that always is, spins. */
const MOST_EMPTY = 2;

export const READINESS_CHECKS: readonly Check[] = [
  {
    name: 'readable$ is level-triggered: it emits until the frames are taken, then it is silent',
    applies: withPeer,
    async run(exchange) {
      const { backend, peer, patience } = exchange;
      const frames = exchange.frames([60, 61, 62]);
      await peer.inject(frames);
      let count = 0;
      const subscription = exchange.watched(backend.readable$).subscribe(() => {
        count += 1;
      });
      expect(await until(() => count >= 3, patience), `it emitted ${count} times, then no more`);
      subscription.unsubscribe();
      const atEnd = count;
      await someTurns();
      expect(count === atEnd, 'it emitted after unsubscribing');
      expect(await emission(backend.readable$, patience), 'a new subscription heard nothing');
      await exchange.expectReceived(frames);
      const empty = await exchange.emptyEmissions(20);
      expect(empty <= MOST_EMPTY, `it emitted ${empty} times with nothing to receive`);
    },
  },
  {
    name: 'readable$ becomes readable again, for the same subscription and for a new one',
    applies: withPeer,
    async run(exchange) {
      const { backend, peer, patience } = exchange;
      const received: number[] = [];
      const subscription = exchange.watched(backend.readable$).subscribe(() => {
        for (const frame of exchange.receive().frames) received.push(frame.length);
      });
      for (let round = 1; round <= 3; round += 1) {
        await peer.inject(exchange.frames([60, 61]));
        const came = await until(() => received.length >= 2 * round, patience);
        expect(came, `round ${round}: readable$ did not emit for frames that came later`);
        await someTurns();
      }
      subscription.unsubscribe();
      const last = exchange.frames([62]);
      await peer.inject(last);
      expect(await emission(backend.readable$, patience), 'a new subscription heard nothing');
      await exchange.expectReceived(last);
    },
  },
];
