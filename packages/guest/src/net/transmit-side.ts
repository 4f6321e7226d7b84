import { EventLoopTurns, type TurnScheduler, VhostError } from '@rxvhost/core';
import { type Observable, Subject, type Subscription } from 'rxjs';
import type { GuestMemoryArena } from '../memory/guest-memory-arena.js';
import { BufferList } from '../queue/buffer-list.js';
import { NO_CHAIN } from '../queue/driver-queue.js';
import { BufferPool } from './buffer-pool.js';
import { type ChainShape, descriptorsOf, listChain } from './chain-shape.js';
import { type NetHeader, writeNetHeader } from './net-header.js';
import type { QueueLink } from './queue-link.js';

/** How a {@link TransmitSide} is made. */
export interface TransmitOptions {
  readonly headerLength: 10 | 12 | 20;
  /** Bytes of the largest frame. */
  readonly maxFrameLength: number;
  readonly shape: ChainShape;
  /** Use an indirect table for each chain. */
  readonly indirect: boolean;
  readonly turns?: TurnScheduler;
}

/** Frames from the guest to the device: copies them into buffers, adds chains, reclaims used ones. */
export class TransmitSide {
  /** Frames and bytes given to the device. */
  frames = 0;
  bytes = 0;
  /** Kicks that the device asked for, and calls that came. */
  kicks = 0;
  calls = 0;

  readonly #pool: BufferPool;
  readonly #bufferOf: Uint16Array;
  readonly #list: BufferList;
  readonly #writable = new Subject<number>();
  readonly #faults = new Subject<VhostError>();
  readonly #turns: TurnScheduler;
  #subscription: Subscription | undefined;
  #waiting = false;

  /** Emits how many frames fit when there is room again after {@link enqueue} said no. */
  readonly writable$: Observable<number> = this.#writable.asObservable();
  /** Emits what the device did wrong. */
  readonly faults$: Observable<VhostError> = this.#faults.asObservable();

  constructor(
    arena: GuestMemoryArena,
    readonly link: QueueLink,
    readonly options: TransmitOptions,
  ) {
    const { queue } = link;
    const perChain = options.indirect ? 1 : descriptorsOf(options.shape);
    const count = Math.floor(queue.size / perChain);
    if (count === 0) {
      throw new VhostError(
        'EINVAL',
        `net driver: a chain of ${perChain} in a ring of ${queue.size}`,
      );
    }
    this.#pool = new BufferPool(arena, count, options.headerLength + options.maxFrameLength);
    this.#bufferOf = new Uint16Array(queue.size);
    this.#list = new BufferList(descriptorsOf(options.shape));
    this.#turns = options.turns ?? new EventLoopTurns();
  }

  /** Frames that would be taken now without reclaiming. */
  get room(): number {
    return this.#pool.free;
  }

  /** Frames that the device has and has not given back. */
  get pending(): number {
    return this.link.queue.outstanding;
  }

  start(): void {
    this.link.queue.disableCallbacks();
    this.#subscription = this.link.call.events$.subscribe((count) => {
      this.calls += count;
      this.#onCall();
    });
  }

  stop(): void {
    this.#subscription?.unsubscribe();
    this.#subscription = undefined;
  }

  /** As {@link VirtioNetDriver.enqueue}. */
  enqueue(frame: Uint8Array, header?: NetHeader): boolean {
    const { headerLength, maxFrameLength, shape, indirect } = this.options;
    if (frame.length === 0 || frame.length > maxFrameLength) {
      throw new VhostError(
        'EMSGSIZE',
        `net driver: ${frame.length} bytes, 1 to ${maxFrameLength} fit`,
      );
    }
    if (this.#pool.free === 0 && this.reclaim() === 0 && !this.#waitForRoom()) return false;
    const buffer = this.#pool.take();
    const target = this.#pool.bytes[buffer] as Uint8Array;
    target.set(frame, headerLength);
    if (header === undefined) target.fill(0, 0, headerLength);
    else writeNetHeader(target, header, headerLength);
    const address = this.#pool.addresses[buffer] as number;
    listChain(this.#list, shape, address, headerLength, frame.length, false);
    const id = this.link.queue.add(this.#list, indirect);
    if (id === NO_CHAIN) {
      this.#pool.give(buffer);
      return false;
    }
    this.#bufferOf[id] = buffer;
    this.frames += 1;
    this.bytes += frame.length;
    return true;
  }

  /** As {@link VirtioNetDriver.flush}. */
  flush(): void {
    if (!this.link.queue.publish()) return;
    this.kicks += 1;
    this.link.kick.signal();
  }

  /** Takes back what the device has done with; returns how many frames. */
  reclaim(): number {
    const { queue } = this.link;
    let count = 0;
    for (let id = queue.takeUsed(); id !== NO_CHAIN; id = queue.takeUsed()) {
      this.#pool.give(this.#bufferOf[id] as number);
      count += 1;
    }
    if (queue.fault !== undefined) this.#fail(queue.fault);
    return count;
  }

  /** As after a device reset: the ring is empty, every buffer free. */
  reset(): void {
    this.link.queue.reset();
    this.#pool.reset();
    this.#waiting = false;
  }

  close(): void {
    this.stop();
    this.#writable.complete();
    this.#faults.complete();
    this.#pool.release();
  }

  /** Asks to be called when half of what is outstanding is done. True when there is room already. */
  #waitForRoom(): boolean {
    const { queue } = this.link;
    this.flush();
    while (queue.enableCallbacks(queue.outstanding >> 1)) {
      if (this.reclaim() === 0) break;
      queue.disableCallbacks();
      // Somebody who was told no before still waits, and no call will come for him now.
      if (this.#waiting) this.#turns.schedule(() => this.#onCall());
      return true;
    }
    this.#waiting = true;
    return false;
  }

  #onCall(): void {
    if (this.#subscription === undefined) return;
    const reclaimed = this.reclaim();
    if (!this.#waiting) return;
    if (reclaimed === 0 && this.#pool.free === 0 && !this.#waitForRoom()) return;
    this.#waiting = false;
    this.link.queue.disableCallbacks();
    this.#writable.next(this.#pool.free);
  }

  #fail(fault: VhostError): void {
    this.stop();
    this.#faults.next(fault);
  }
}
