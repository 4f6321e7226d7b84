import { EventLoopTurns, type TurnScheduler } from '../events/turn-scheduler.js';
import type { PacketBatch } from '../virtqueue/packet-batch.js';
import type { FrameCopier } from './frame-copier.js';
import { FrameStore } from './frame-store.js';
import { LocalReadiness } from './local-readiness.js';
import type { PacketSocket } from './packet-socket.js';

/** How an in-process link is made. */
export interface LinkOptions {
  /** Native copying from `@rxvhost/sys`; plain TypeScript when left out. */
  readonly copier?: FrameCopier;
  readonly turns?: TurnScheduler;
  /** Bytes and frames that may be under way in each direction; 4 MiB and 4096 unless set. */
  readonly bytes?: number;
  readonly frames?: number;
}

/** One direction of a link: a store, and who waits for it. */
class Lane {
  readonly store: FrameStore;
  readonly readable: LocalReadiness;
  readonly writable: LocalReadiness;
  #full = false;

  constructor({ copier, turns = new EventLoopTurns(), bytes, frames }: LinkOptions) {
    this.store = new FrameStore(copier, bytes, frames);
    this.readable = new LocalReadiness(turns, () => this.store.count > 0);
    this.writable = new LocalReadiness(turns, () => !this.#full);
  }

  put(batch: PacketBatch, first: number): number {
    const taken = this.store.put(batch, first);
    this.#full = first + taken < batch.count;
    if (taken > 0) this.readable.check();
    return taken;
  }

  take(batch: PacketBatch): number {
    const chains = this.store.take(batch);
    if (this.#full && (batch.frameCount > 0 || batch.oversized > 0)) {
      this.#full = false;
      this.writable.check();
    }
    return chains;
  }

  end(): void {
    this.store.clear();
    this.readable.end();
    this.writable.end();
  }
}

/** A socket that sends into one lane and receives from another, bare frames without a header. */
class LaneSocket implements PacketSocket {
  readonly headerLength = 0;
  readonly readable$;
  readonly writable$;

  constructor(
    private readonly outgoing: Lane,
    private readonly incoming: Lane,
  ) {
    this.readable$ = incoming.readable.ready$;
    this.writable$ = outgoing.writable.ready$;
  }

  send(batch: PacketBatch, first: number): number {
    return this.outgoing.put(batch, first);
  }

  receive(batch: PacketBatch): number {
    return this.incoming.take(batch);
  }

  close(): void {
    this.outgoing.end();
    this.incoming.end();
  }
}

/** Two sockets joined by a cable: what one sends, the other receives, in order, losing nothing. */
export function link(options: LinkOptions = {}): [PacketSocket, PacketSocket] {
  const there = new Lane(options);
  const back = new Lane(options);
  return [new LaneSocket(there, back), new LaneSocket(back, there)];
}

/** A socket that receives what it sends. */
export function loopback(options: LinkOptions = {}): PacketSocket {
  const lane = new Lane(options);
  return new LaneSocket(lane, lane);
}
