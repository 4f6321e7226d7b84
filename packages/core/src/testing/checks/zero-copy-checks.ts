import type { ZeroCopySender } from '../../backend/zero-copy.js';
import { type Exchange, expect } from '../exchange.js';
import { someTurns, until } from '../waiting.js';
import { type Check, withPeer } from './check.js';

const FIRST_TICKET = 0xffff_ff00;
const FIRST = 2;

export const ZERO_COPY_CHECKS: readonly Check[] = [
  {
    name: 'by reference: every frame goes out once and completes once, its bytes needed no longer',
    applies: withPeer,
    async run(exchange) {
      const { zeroCopy } = exchange.backend;
      if (zeroCopy === undefined) return;
      const completed = new Map<number, number>();
      const subscription = zeroCopy.completions$.subscribe((batch) => {
        for (let n = 0; n < batch.count; n += 1) {
          const ticket = batch.tickets[n] as number;
          completed.set(ticket, (completed.get(ticket) ?? 0) + 1);
          // From here on the guest may use the buffer for something else.
          if (ticket >= FIRST_TICKET) exchange.memory.scribble(ticket - FIRST_TICKET + FIRST, 1);
        }
      });
      const longest = Math.min(1000, exchange.largest);
      for (let round = 0; round < 4; round += 1) {
        const frames = exchange.frames([256, 257, exchange.smallest, longest, 700, 300]);
        const sent = sendByReference(exchange, zeroCopy, frames);
        const taken = frames.slice(0, sent);
        expect(sent > 0 || round > 0, 'it took no frame at all');
        await exchange.expectAtPeer(taken);
        const all = await until(() => completed.size >= sent, exchange.patience);
        await someTurns();
        expect(all, `${completed.size} of ${sent} frames have completed`);
        for (let index = 0; index < sent; index += 1) {
          const times = completed.get(FIRST_TICKET + index) ?? 0;
          expect(times === 1, `ticket ${index} has completed ${times} times`);
        }
        expect(completed.size === sent, 'a ticket has completed that was never given');
        completed.clear();
      }
      subscription.unsubscribe();
    },
  },
];

/** Ticket `FIRST_TICKET + n` is frame `n`'s; the batch is made unreadable afterwards. */
function sendByReference(
  exchange: Exchange,
  sender: ZeroCopySender,
  frames: readonly Uint8Array[],
): number {
  const { memory } = exchange;
  const { batch } = memory;
  exchange.fill(frames, { first: FIRST, skip: 12, segments: [12, 100, 9] });
  const tickets = new Uint32Array(batch.capacity);
  for (const index of frames.keys()) tickets[FIRST + index] = FIRST_TICKET + index;
  const sent = sender.send(batch, FIRST, tickets);
  exchange.checkResults(sent, frames, FIRST);
  return sent;
}
