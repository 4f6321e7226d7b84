import type { Subscription } from 'rxjs';
import type { PacketSocket } from '../backend/packet-socket.js';
import type { CompletionBatch, ZeroCopySender } from '../backend/zero-copy.js';
import { VhostError } from '../errors/vhost-error.js';
import type { PacketBatch } from '../virtqueue/packet-batch.js';
import type { Virtqueue } from '../virtqueue/virtqueue.js';
import type { NetQueueContext } from './net-queue.js';
import type { HandlerCounters } from './net-statistics.js';
import type { TransmitPath } from './transmit-path.js';
import { ZeroCopySlots } from './zero-copy-slots.js';

/** Frames shorter than this are cheaper to copy (seed C11). */
const SHORTEST = 256;
/** The most frames out by reference and not published (seed C11). */
const MOST_OUTSTANDING = 128;
/** Every so many completions wake the handler although frames are still outstanding (seed C11). */
const WAKE_EVERY = 16;
/** Failures over one in so many frames turn to copying (seed C12) … */
const FAILURE_SHARE = 64;
/** … until the counters begin anew after so many frames. */
const COUNTER_PERIOD = 1024;

/**
 * Frames go out by reference and are published when the socket has completed them, in the order in
 * which they were sent (seeds C11, C12, C13). Short frames, and all frames for a while when too many
 * fail, are copied.
 */
export class ZeroCopyPath implements TransmitPath {
  waitsForCompletions = false;

  readonly #slots = new ZeroCopySlots();
  readonly #tickets: Uint32Array;
  readonly #reaped = new Uint32Array(MOST_OUTSTANDING);
  readonly #completions: Subscription;
  #packets = 0;
  #failures = 0;
  #sinceWake = 0;
  #drained: { promise: Promise<void>; done: () => void } | undefined;

  /** @param wake - runs the queue's handler soon */
  constructor(
    readonly socket: PacketSocket,
    private readonly sender: ZeroCopySender,
    private readonly context: NetQueueContext,
    private readonly counters: HandlerCounters,
    capacity: number,
    private readonly wake: () => void,
  ) {
    this.#tickets = new Uint32Array(capacity);
    this.#completions = sender.completions$.subscribe((batch) => this.#complete(batch));
  }

  get unpublished(): number {
    return this.#slots.used;
  }

  send(queue: Virtqueue, batch: PacketBatch): number {
    this.waitsForCompletions = false;
    const { count } = batch;
    let first = 0;
    while (first < count) {
      const byReference = this.#goesByReference(batch, first);
      let end = first + 1;
      while (end < count && this.#goesByReference(batch, end) === byReference) end += 1;
      const room = MOST_OUTSTANDING - this.#slots.used;
      // In order, a copied frame is published after those that are out by reference before it.
      const queued = byReference || (queue.inOrder && this.#slots.used > 0);
      if (queued) end = Math.min(end, first + room);
      // The socket sees just this run: the batch ends where the run does.
      batch.count = end;
      let sent = 0;
      try {
        if (!queued) sent = this.#sendCopied(queue, batch, first);
        else if (byReference && room > 0) sent = this.#sendByReference(batch, first);
        else if (room > 0) sent = this.#sendBehind(batch, first);
      } finally {
        batch.count = count;
      }
      this.#countPackets(sent);
      first += sent;
      if (queued && room === sent && first < count) {
        this.waitsForCompletions = true;
        return first;
      }
      if (first < end) return first;
    }
    return first;
  }

  reap(queue: Virtqueue): boolean {
    let any = false;
    for (;;) {
      const count = this.#slots.reap(this.#reaped);
      if (count === 0) return any;
      queue.completeReadable(this.#reaped, 0, count);
      any = true;
    }
  }

  drain(): Promise<void> | undefined {
    if (this.#slots.outstanding === 0) {
      this.#completions.unsubscribe();
      return undefined;
    }
    this.#drained ??= this.#waitForAll();
    return this.#drained.promise;
  }

  #goesByReference(batch: PacketBatch, frame: number): boolean {
    return (
      batch.frameLength(frame) >= SHORTEST &&
      this.#drained === undefined &&
      Math.floor(this.#packets / FAILURE_SHARE) >= this.#failures
    );
  }

  #sendByReference(batch: PacketBatch, first: number): number {
    const { table } = this.context.memory;
    for (let frame = first; frame < batch.count; frame += 1) {
      this.#tickets[frame] = this.#slots.take(batch.heads[frame] as number, table);
    }
    const given = batch.count - first;
    let sent = 0;
    try {
      sent = this.sender.send(batch, first, this.#tickets);
    } finally {
      this.#slots.giveBack(given - sent);
    }
    for (let frame = first; frame < first + sent; frame += 1) {
      if ((batch.results[frame] as number) < 0)
        this.#slots.complete(this.#tickets[frame] as number);
      else this.counters.zeroCopy += 1;
    }
    return sent;
  }

  #sendCopied(queue: Virtqueue, batch: PacketBatch, first: number): number {
    const sent = this.socket.send(batch, first);
    queue.completeReadable(batch.heads, first, sent);
    return sent;
  }

  #sendBehind(batch: PacketBatch, first: number): number {
    const sent = this.socket.send(batch, first);
    for (let frame = first; frame < first + sent; frame += 1) {
      this.#slots.complete(
        this.#slots.take(batch.heads[frame] as number, this.context.memory.table),
      );
    }
    return sent;
  }

  #countPackets(sent: number): void {
    this.#packets += sent;
    if (this.#packets < COUNTER_PERIOD) return;
    this.#packets = 0;
    this.#failures = 0;
  }

  #complete(batch: CompletionBatch): void {
    for (let n = 0; n < batch.count; n += 1) {
      if (!this.#slots.complete(batch.tickets[n] as number)) {
        this.counters.strayCompletions += 1;
        continue;
      }
      this.#sinceWake += 1;
      if (batch.succeeded[n] === 0) {
        this.#failures += 1;
        this.counters.zeroCopyFailures += 1;
      }
    }
    const last = this.#slots.outstanding === 0;
    if (last || this.#sinceWake >= WAKE_EVERY) {
      this.#sinceWake = 0;
      this.wake();
    }
    if (last) this.#drained?.done();
  }

  #waitForAll(): { promise: Promise<void>; done: () => void } {
    let resolve: () => void = () => {};
    const promise = new Promise<void>((settled) => {
      resolve = settled;
    });
    const { drainMilliseconds } = this.context;
    const done = (): void => {
      clearTimeout(timer);
      this.#completions.unsubscribe();
      resolve();
    };
    const timer = setTimeout(() => {
      const { outstanding } = this.#slots;
      this.#slots.abandon();
      this.context.fail(
        new VhostError(
          'ETIMEDOUT',
          `the backend has not completed ${outstanding} frames within ${drainMilliseconds} ms`,
        ),
      );
      done();
    }, drainMilliseconds);
    return { promise, done };
  }
}
