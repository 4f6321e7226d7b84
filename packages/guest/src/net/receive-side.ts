import { EventLoopTurns, type TurnScheduler, VhostError } from '@rxvhost/core';
import { type Observable, Subject, type Subscription } from 'rxjs';
import type { GuestMemoryArena } from '../memory/guest-memory-arena.js';
import { BufferList } from '../queue/buffer-list.js';
import { NO_CHAIN } from '../queue/driver-queue.js';
import { BufferPool } from './buffer-pool.js';
import { type ChainShape, descriptorsOf, listChain } from './chain-shape.js';
import { FrameBatch } from './frame-batch.js';
import type { QueueLink } from './queue-link.js';

/** How a {@link ReceiveSide} is made. */
export interface ReceiveOptions {
  readonly headerLength: 10 | 12 | 20;
  /** MRG_RXBUF was negotiated: a frame may fill several buffers. */
  readonly mergeable: boolean;
  /** Bytes of each receive buffer, header included. */
  readonly bufferLength: number;
  readonly shape: ChainShape;
  readonly indirect: boolean;
  readonly turns?: TurnScheduler;
}

/** Frames from the device to the guest: keeps buffers in the ring, puts frames together again. */
export class ReceiveSide {
  /** Frames and bytes received. */
  frames = 0;
  bytes = 0;
  kicks = 0;
  calls = 0;
  /** Used buffers in which there was nothing behind the header, or more than fits. */
  badLength = 0;
  /** Frames whose header names more buffers than the device used, or none. */
  badBufferCount = 0;

  readonly #pool: BufferPool;
  readonly #bufferOf: Uint16Array;
  readonly #list: BufferList;
  readonly #batch: FrameBatch;
  /** Buffers that the batch speaks of; they go back to the ring when it has been seen. */
  readonly #held: Uint16Array;
  #heldCount = 0;
  readonly #frames = new Subject<FrameBatch>();
  readonly #faults = new Subject<VhostError>();
  readonly #turns: TurnScheduler;
  #subscription: Subscription | undefined;
  #usedLength = 0;

  /** Emits received frames, at most a ring's worth at a time. */
  readonly frames$: Observable<FrameBatch> = this.#frames.asObservable();
  /** Emits what the device did wrong. */
  readonly faults$: Observable<VhostError> = this.#faults.asObservable();

  constructor(
    arena: GuestMemoryArena,
    readonly link: QueueLink,
    readonly options: ReceiveOptions,
  ) {
    const { queue } = link;
    const perChain = options.indirect ? 1 : descriptorsOf(options.shape);
    const count = Math.floor(queue.size / perChain);
    if (count === 0 || options.bufferLength <= options.headerLength) {
      throw new VhostError('EINVAL', `net driver: no receive buffer fits the ring or the header`);
    }
    this.#turns = options.turns ?? new EventLoopTurns();
    this.#pool = new BufferPool(arena, count, options.bufferLength);
    this.#bufferOf = new Uint16Array(queue.size);
    this.#list = new BufferList(descriptorsOf(options.shape));
    this.#batch = new FrameBatch(options.headerLength);
    this.#held = new Uint16Array(count);
  }

  /** Fills the ring with buffers and listens. */
  start(): void {
    this.fill();
    this.#subscription = this.link.call.events$.subscribe((count) => {
      this.calls += count;
      this.#drain();
    });
    if (this.link.queue.enableCallbacks()) this.#drain();
  }

  stop(): void {
    this.#subscription?.unsubscribe();
    this.#subscription = undefined;
  }

  /** Gives every free buffer to the device. */
  fill(): void {
    const { queue, kick } = this.link;
    const { headerLength, bufferLength, shape, indirect } = this.options;
    for (let buffer = this.#pool.take(); buffer >= 0; buffer = this.#pool.take()) {
      const address = this.#pool.addresses[buffer] as number;
      listChain(this.#list, shape, address, headerLength, bufferLength - headerLength, true);
      const id = queue.add(this.#list, indirect);
      if (id === NO_CHAIN) {
        this.#pool.give(buffer);
        break;
      }
      this.#bufferOf[id] = buffer;
    }
    if (!queue.publish()) return;
    this.kicks += 1;
    kick.signal();
  }

  reset(): void {
    this.link.queue.reset();
    this.#pool.reset();
    this.#heldCount = 0;
    this.#batch.clear();
  }

  close(): void {
    this.stop();
    this.#frames.complete();
    this.#faults.complete();
    this.#pool.release();
  }

  /** One ring's worth of frames a turn; what is left then waits for the next turn, as others do. */
  #drain(): void {
    if (this.#subscription === undefined) return;
    const { queue } = this.link;
    queue.disableCallbacks();
    this.#collect();
    if (this.#batch.count > 0) this.#frames.next(this.#batch);
    this.#batch.clear();
    for (let index = 0; index < this.#heldCount; index += 1) {
      this.#pool.give(this.#held[index] as number);
    }
    this.#heldCount = 0;
    if (queue.fault !== undefined) {
      this.stop();
      this.#faults.next(queue.fault);
      return;
    }
    // A subscriber may have closed or reset the driver.
    if (this.#subscription === undefined) return;
    this.fill();
    if (queue.enableCallbacks()) this.#turns.schedule(() => this.#drain());
  }

  #collect(): void {
    const { headerLength, bufferLength, mergeable } = this.options;
    while (this.#heldCount < this.#held.length) {
      const first = this.#takeBuffer();
      if (first === undefined) return;
      const length = this.#usedLength;
      const buffers = mergeable ? (first[10] as number) | ((first[11] as number) << 8) : 1;
      if (length <= headerLength || length > bufferLength) {
        this.badLength += 1;
      } else if (buffers === 1) {
        this.#batch.push(first, first.subarray(headerLength, length));
        this.frames += 1;
        this.bytes += length - headerLength;
      } else {
        this.#merge(first, buffers);
      }
    }
  }

  /** Puts together a frame that fills several buffers. */
  #merge(first: Uint8Array, buffers: number): void {
    const { headerLength, bufferLength } = this.options;
    const pieces = [first.subarray(headerLength, this.#usedLength)];
    let total = this.#usedLength - headerLength;
    for (let index = 1; index < buffers; index += 1) {
      const next = this.#takeBuffer();
      if (next === undefined || this.#usedLength > bufferLength) {
        this.badBufferCount += 1;
        return;
      }
      pieces.push(next.subarray(0, this.#usedLength));
      total += this.#usedLength;
    }
    if (buffers === 0) {
      this.badBufferCount += 1;
      return;
    }
    const frame = new Uint8Array(total);
    let at = 0;
    for (const piece of pieces) {
      frame.set(piece, at);
      at += piece.length;
    }
    this.#batch.push(first, frame);
    this.frames += 1;
    this.bytes += total;
  }

  /** The next used buffer's bytes; its length is in `#usedLength`. */
  #takeBuffer(): Uint8Array | undefined {
    const { queue } = this.link;
    const id = queue.takeUsed();
    if (id === NO_CHAIN) return undefined;
    const buffer = this.#bufferOf[id] as number;
    this.#held[this.#heldCount] = buffer;
    this.#heldCount += 1;
    this.#usedLength = queue.usedLength;
    return this.#pool.bytes[buffer] as Uint8Array;
  }
}
