import {
  type MemoryMapping,
  PacketBatch,
  WINDOW_STRIDE,
  WindowTable,
  windowsOf,
} from '@rxvhost/core';
import { sharedMemory } from './shared-memory.js';

/** Guest memory as native code sees it, with a batch over it that tests fill by hand. */
export class FrameBuffers {
  readonly batch = new PacketBatch();
  readonly #mapping: MemoryMapping;
  readonly #windows: WindowTable;

  constructor(readonly chainLength = 2048) {
    this.#mapping = sharedMemory(256 * chainLength);
    this.#windows = new WindowTable(windowsOf(this.#mapping, WINDOW_STRIDE));
  }

  /** A transmit batch of these frames; each chain is split into segments of `segment` bytes. */
  transmit(frames: readonly Uint8Array[], segment = 2048): PacketBatch {
    this.batch.reset(this.#windows, 0);
    for (const [index, frame] of frames.entries()) {
      this.#windows.bytes(0).set(frame, index * this.chainLength);
      this.#addChain(frame.length, segment);
    }
    return this.batch;
  }

  /** A receive batch of `chains` empty chains. */
  receive(
    chains: number,
    { skip = 0, segment = 2048, length = this.chainLength } = {},
  ): PacketBatch {
    this.batch.reset(this.#windows, skip);
    for (let chain = 0; chain < chains; chain += 1) this.#addChain(length, segment);
    return this.batch;
  }

  /** What a backend wrote as frame `index` of single-chain frames, `skip` left out. */
  received(index: number): Uint8Array {
    const { batch } = this;
    const at = index * this.chainLength + batch.skip;
    return this.#windows.bytes(0).slice(at, at + (batch.frameLengths[index] as number));
  }

  release(): void {
    this.#windows.invalidate();
    this.#mapping.release();
  }

  #addChain(length: number, segment: number): void {
    const { batch } = this;
    const start = batch.count * this.chainLength;
    batch.heads[batch.count] = batch.count;
    batch.lengths[batch.count] = length;
    batch.firstSegment[batch.count] = batch.segments.count;
    for (let at = 0; at < length; at += segment) {
      batch.segments.push(0, start + at, Math.min(segment, length - at));
    }
    batch.count += 1;
    batch.firstSegment[batch.count] = batch.segments.count;
  }
}
