import type { Observable } from 'rxjs';
import type { PacketBatch } from '../virtqueue/packet-batch.js';

/**
 * Completions of frames that were sent by reference, several at a time. Made once and filled again:
 * whoever gets one reads it before it returns.
 */
export class CompletionBatch {
  /** Completions in the batch. */
  count = 0;
  /** The tickets of the frames that are done. */
  readonly tickets: Uint32Array;
  /** 1 where the frame went out, 0 where it failed. */
  readonly succeeded: Uint8Array;

  /** @param capacity - the most completions in one batch */
  constructor(readonly capacity = 256) {
    this.tickets = new Uint32Array(capacity);
    this.succeeded = new Uint8Array(capacity);
  }

  /** Adds one completion. False when the batch is full: emit it, `count = 0`, and add again. */
  push(ticket: number, succeeded: boolean): boolean {
    if (this.count === this.capacity) return false;
    this.tickets[this.count] = ticket;
    this.succeeded[this.count] = succeeded ? 1 : 0;
    this.count += 1;
    return true;
  }
}

/**
 * Sending by reference (seed C11): the socket reads a frame from guest memory after `send` has
 * returned, and says when it no longer needs it. Guest memory stays mapped that long, whatever
 * becomes of the device.
 */
export interface ZeroCopySender {
  /**
   * As `PacketSocket.send`, but each frame's bytes stay where they are and are the socket's to read
   * until it completes the frame's ticket. The batch itself must still not be kept: take a copy of
   * the segments. A frame with a negative result is not outstanding: its ticket is never completed.
   * @param tickets - of frame `i` at `[i]`; any numbers below 2^32
   */
  send(batch: PacketBatch, first: number, tickets: Uint32Array): number;
  /** Emits what has completed, in any order. Subscribed as long as frames are outstanding. */
  readonly completions$: Observable<CompletionBatch>;
}
