import { merge, type Observable } from 'rxjs';
import type { FrameStore } from '../../backend/frame-store.js';
import type { PacketSocket } from '../../backend/packet-socket.js';
import type { PacketBatch } from '../../virtqueue/packet-batch.js';
import type { NetHeaderLength } from '../net-header.js';
import { SocketLayer } from '../offload/socket-layer.js';
import { StagingMemory } from '../offload/staging-memory.js';

/** Times that the backend is asked for more before the turn goes to others. */
const MOST_READS = 16;

/** What a {@link SteeredSocket} has of the steering that it is part of. */
export interface SteeredLane {
  /** Bytes of header before each frame that is given to the queue. */
  readonly header: NetHeaderLength;
  /** Frames for this queue. */
  readonly waiting: FrameStore;
  /** Emits while frames are waiting. */
  readonly waiting$: Observable<void>;
  /** Puts frame `frame` of `batch` where it belongs; it is at `at … end - 1` of `view`. */
  place(batch: PacketBatch, frame: number, view: DataView, at: number, end: number): void;
  /** The socket is not used any more. */
  left(): void;
}

/** A receive queue's end of the steering: reads its own backend, takes what was put aside for it. */
export class SteeredSocket extends SocketLayer {
  override readonly readable$: Observable<void>;

  readonly #staging: StagingMemory;
  readonly #innerHeader: number;
  readonly #lane: SteeredLane;

  /** @param innerHeader - bytes of header before each frame of `inner` */
  constructor(inner: PacketSocket, innerHeader: number, lane: SteeredLane) {
    super(inner, lane.header);
    this.#lane = lane;
    this.#innerHeader = innerHeader;
    this.#staging = new StagingMemory(inner, lane.header - innerHeader);
    this.readable$ = merge(inner.readable$, lane.waiting$);
  }

  override receive(batch: PacketBatch): number {
    for (let reads = 0; this.#lane.waiting.count === 0 && reads < MOST_READS; reads += 1) {
      if (!this.#read(batch)) break;
    }
    return this.#lane.waiting.take(batch);
  }

  override release(): void {
    this.#staging.release();
    this.#lane.left();
    if (this.inner instanceof SocketLayer) this.inner.release();
  }

  /** Reads some frames of the backend and places them. False when there are no more. */
  #read(target: PacketBatch): boolean {
    const { header } = this.#lane;
    const batch = this.#staging.receive(this.inner);
    const view = batch.windows.view(0);
    const { frameCount, frameLengths, frameChains, segments, lengths, capacity } = batch;
    target.oversized += batch.oversized;
    let chain = 0;
    for (let frame = 0; frame < frameCount; frame += 1) {
      const start = (segments.offset[chain] as number) + this.#innerHeader - header;
      this.#moveHeader(view, start);
      const length = (frameLengths[frame] as number) + header - this.#innerHeader;
      segments.offset[chain] = start;
      segments.length[chain] = length;
      lengths[chain] = length;
      this.#lane.place(batch, chain, view, start + header, start + length);
      chain += frameChains[frame] as number;
    }
    return frameCount === capacity;
  }

  /** Puts the first 10 bytes of the backend's header, or zeros, at the beginning of ours. */
  #moveHeader(view: DataView, start: number): void {
    const { header } = this.#lane;
    const inner = this.#innerHeader;
    const from = start + header - inner;
    for (let byte = 0; byte < header; byte += 2) {
      view.setUint16(start + byte, byte < Math.min(inner, 10) ? view.getUint16(from + byte) : 0);
    }
  }
}
