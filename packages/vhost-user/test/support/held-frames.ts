import {
  CompletionBatch,
  EventLoopTurns,
  LocalReadiness,
  type PacketBatch,
  type PacketSocket,
  type ZeroCopySender,
} from '@rxvhost/core';
import { Subject } from 'rxjs';

/** Where a numbered frame has its number: behind the Ethernet header. */
const NUMBER_AT = 14;

/**
 * A backend that keeps frames that go by reference until it is told to let go of them, and tells at
 * once of each frame that it takes. What it lets go of comes back to the guest.
 */
export class HeldFrames implements PacketSocket {
  readonly headerLength = 0;
  readonly #tickets: { readonly ticket: number; readonly frame: Uint8Array }[] = [];
  readonly #returning: Uint8Array[] = [];
  readonly #completions = new Subject<CompletionBatch>();
  readonly #turns = new EventLoopTurns();
  readonly #readable = new LocalReadiness(this.#turns, () => this.#returning.length > 0);
  readonly #writable = new LocalReadiness(this.#turns, () => true);
  readonly readable$ = this.#readable.ready$;
  readonly writable$ = this.#writable.ready$;

  readonly zeroCopy: ZeroCopySender = {
    completions$: this.#completions,
    send: (batch, first, tickets) => {
      for (let index = first; index < batch.count; index += 1) {
        const frame = this.#take(batch, index);
        this.#tickets.push({ ticket: tickets[index] as number, frame });
      }
      return batch.count - first;
    },
  };

  /** @param took - told the number of each frame, before anything else happens to it */
  constructor(private readonly took: (frame: number) => void) {}

  /** Frames that are short are copied, and done with. */
  send(batch: PacketBatch, first: number): number {
    for (let index = first; index < batch.count; index += 1) this.#take(batch, index);
    return batch.count - first;
  }

  receive(batch: PacketBatch): number {
    while (this.#returning[0] && batch.deliver(this.#returning[0]) !== 'full') {
      this.#returning.shift();
    }
    return batch.frameChains.subarray(0, batch.frameCount).reduce((sum, chains) => sum + chains, 0);
  }

  /** Lets go of so many of the frames that it has: the oldest, or the newest. */
  letGo(count: number, which: 'oldest' | 'newest'): void {
    const chosen =
      which === 'oldest' ? this.#tickets.splice(0, count) : this.#tickets.splice(-count);
    const batch = new CompletionBatch(Math.max(1, chosen.length));
    for (const { ticket, frame } of chosen) {
      batch.push(ticket, true);
      this.#returning.push(frame);
    }
    if (batch.count > 0) this.#completions.next(batch);
    this.#readable.check();
  }

  close(): void {
    this.#readable.end();
    this.#writable.end();
  }

  #take(batch: PacketBatch, index: number): Uint8Array {
    const frame = new Uint8Array(batch.frameLength(index));
    batch.results[index] = batch.copyFrame(index, frame);
    this.took(new DataView(frame.buffer).getUint32(NUMBER_AT));
    return frame;
  }
}
