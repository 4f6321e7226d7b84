import { Subject } from 'rxjs';
import {
  CompletionBatch,
  EventLoopTurns,
  LocalReadiness,
  PacketBatch,
  type PacketSocket,
  type ZeroCopySender,
} from '../../src/index.js';
import type { BackendPeer, ConformanceBench } from '../../src/testing/index.js';

const LIMIT = 200;

/** A frame that is out by reference: a batch of its own, with just its segments. */
interface Reference {
  readonly batch: PacketBatch;
  readonly ticket: number;
}

/**
 * A backend that is right in everything, with its other end, and whose steps can be overridden one
 * by one: what the broken backends are made of. By reference it reads frames in a later turn, and
 * completes them in the opposite order.
 */
export class CableSocket implements PacketSocket {
  readonly headerLength = 0;
  protected readonly leaving: Uint8Array[] = [];
  protected readonly arrived: Uint8Array[] = [];
  protected readonly turns = new EventLoopTurns();
  protected readonly completions = new Subject<CompletionBatch>();
  readonly #readable = new LocalReadiness(this.turns, () => this.arrived.length > 0);
  readonly #writable = new LocalReadiness(this.turns, () => this.leaving.length < LIMIT);
  readonly readable$ = this.#readable.ready$;
  readonly writable$ = this.#writable.ready$;
  readonly #references: Reference[] = [];

  readonly zeroCopy: ZeroCopySender = {
    completions$: this.completions,
    send: (batch, first, tickets) => {
      for (let index = first; index < batch.count; index += 1) {
        batch.results[index] = batch.frameLength(index);
        this.#references.push({
          batch: referenceTo(batch, index),
          ticket: tickets[index] as number,
        });
      }
      this.turns.schedule(() => this.#sendReferences());
      return batch.count - first;
    },
  };

  readonly peer: BackendPeer = {
    received: () => {
      const frames = this.leaving.splice(0);
      this.#writable.check();
      return frames;
    },
    inject: (frames) => {
      this.arrived.push(...frames.map((frame) => Uint8Array.from(frame)));
      this.frameArrived();
    },
  };

  /** As the suite wants it. */
  get bench(): ConformanceBench {
    return { backend: this, peer: this.peer };
  }

  send(batch: PacketBatch, first: number): number {
    let index = first;
    for (; index < batch.count && this.leaving.length < LIMIT; index += 1) {
      const frame = new Uint8Array(batch.frameLength(index));
      batch.results[index] = batch.copyFrame(index, frame);
      this.leaving.push(frame);
    }
    return index < batch.count ? this.becameFull(batch, first, index) : index - first;
  }

  receive(batch: PacketBatch): number {
    while (this.arrived[0] && batch.deliver(this.arrived[0]) !== 'full') this.arrived.shift();
    return batch.frameChains.subarray(0, batch.frameCount).reduce((sum, chains) => sum + chains, 0);
  }

  close(): void {
    this.#readable.end();
    this.#writable.end();
  }

  /** Frames are there that were not before. */
  protected frameArrived(): void {
    this.#readable.check();
  }

  /** There was no room for frame `next`. Returns what `send` returns. */
  protected becameFull(_batch: PacketBatch, first: number, next: number): number {
    return next - first;
  }

  /** The frame of `ticket` has been read. */
  protected complete(ticket: number): void {
    const batch = new CompletionBatch(1);
    batch.push(ticket, true);
    this.completions.next(batch);
  }

  #sendReferences(): void {
    const all = this.#references.splice(0);
    for (const { batch } of all) {
      const frame = new Uint8Array(batch.frameLength(0));
      batch.copyFrame(0, frame);
      this.leaving.push(frame);
    }
    for (const { ticket } of all.reverse()) this.complete(ticket);
  }
}

/** A batch of one frame's segments: the batch that `send` was given must not be kept. */
export function referenceTo(batch: PacketBatch, index: number): PacketBatch {
  const { segments, firstSegment } = batch;
  const first = firstSegment[index] as number;
  const end = firstSegment[index + 1] as number;
  const one = new PacketBatch(1, end - first);
  one.reset(batch.windows, batch.skip);
  for (let s = first; s < end; s += 1) {
    const at = [segments.window[s], segments.offset[s], segments.length[s]] as const;
    one.segments.push(...(at as readonly [number, number, number]));
  }
  one.lengths[0] = batch.lengths[index] as number;
  one.firstSegment[1] = one.segments.count;
  one.count = 1;
  return one;
}
