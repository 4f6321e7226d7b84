import type { MemoryMapping } from '../memory/mapping.js';
import { WINDOW_STRIDE } from '../memory/mapping.js';
import { WindowTable, windowsOf } from '../memory/window-table.js';
import { PacketBatch } from '../virtqueue/packet-batch.js';

/** The most chains in one batch of the suite. */
export const MOST_CHAINS = 128;
/** Bytes that nobody may write, around every chain. */
const GUARD = 32;
const UNTOUCHED = 0xa5;

/** How the chains of a batch lie in memory. */
export interface ChainLayout {
  /** Bytes at the beginning of each chain that are not the backend's. */
  readonly skip?: number;
  /** Lengths of the segments, over and over; one segment a chain when left out. */
  readonly segments?: readonly number[];
}

/**
 * Stands for guest memory: two windows in which the chains of a batch lie, their segments in one
 * and the other by turns, so that no two segments of a frame are neighbours.
 */
export class FrameMemory {
  readonly batch = new PacketBatch();
  readonly #mappings: readonly MemoryMapping[];
  readonly #windows: WindowTable;
  readonly #slot: number;

  /** @param chainLength - the most bytes in one chain */
  constructor(memory: (bytes: number) => MemoryMapping, chainLength: number) {
    this.#slot = (chainLength + 2 * GUARD + 7) & ~7;
    this.#mappings = [memory(this.#slot * MOST_CHAINS), memory(this.#slot * MOST_CHAINS)];
    this.#windows = new WindowTable(
      this.#mappings.flatMap((mapping) => windowsOf(mapping, WINDOW_STRIDE)),
    );
  }

  /** An empty batch. */
  begin({ skip = 0 }: ChainLayout): void {
    this.batch.reset(this.#windows, skip);
    this.batch.chainsPerFrame = 1;
    this.batch.largest = false;
    this.batch.results.fill(0x7fff_ffff);
  }

  /** Adds a chain of `length` bytes, `skip` included, all of them `UNTOUCHED`. */
  add(length: number, { segments = [length] }: ChainLayout): void {
    const { batch } = this;
    const start = batch.count * this.#slot + GUARD;
    for (const window of [0, 1]) {
      this.#windows.bytes(window).fill(UNTOUCHED, start - GUARD, start - GUARD + this.#slot);
    }
    batch.heads[batch.count] = batch.count;
    batch.lengths[batch.count] = length;
    batch.firstSegment[batch.count] = batch.segments.count;
    for (let at = 0, n = 0; at < length; n += 1) {
      const piece = Math.min(segments[n % segments.length] as number, length - at);
      if (!batch.segments.push(n & 1, start + at, piece)) throw new Error('too many segments');
      at += piece;
    }
    batch.count += 1;
    batch.firstSegment[batch.count] = batch.segments.count;
  }

  /** Writes `bytes` into chain `index` from byte `at` of it on. */
  write(index: number, at: number, bytes: Uint8Array): void {
    let begin = 0;
    for (const piece of this.#pieces(index, 1)) {
      const from = Math.max(0, begin - at);
      const to = begin + piece.length - at;
      if (to > 0) piece.set(bytes.subarray(from, to), Math.max(0, at - begin));
      begin += piece.length;
    }
  }

  /** The bytes of `count` chains from `index` on. */
  read(index: number, count: number): Uint8Array {
    const { lengths } = this.batch;
    const all = lengths.subarray(index, index + count).reduce((sum, length) => sum + length, 0);
    const bytes = new Uint8Array(all);
    let at = 0;
    for (const piece of this.#pieces(index, count)) {
      bytes.set(piece, at);
      at += piece.length;
    }
    return bytes;
  }

  /** Overwrites everything in some chains, as a guest does with buffers that it has got back. */
  scribble(first = 0, count = this.batch.count - first): void {
    for (const piece of this.#pieces(first, count)) piece.fill(0xdd);
  }

  /** Whether nothing but the batch's chains has been written to. */
  isUntouchedOutside(): boolean {
    const { segments } = this.batch;
    const checked = [0, 0];
    for (let s = 0; s < segments.count; s += 1) {
      const window = segments.window[s] as number;
      const offset = segments.offset[s] as number;
      if (!this.#isUntouched(window, checked[window] as number, offset)) return false;
      checked[window] = offset + (segments.length[s] as number);
    }
    const end = this.batch.count * this.#slot;
    return checked.every((from, window) => this.#isUntouched(window, from, end));
  }

  /** Whether the first `skip` bytes of a chain are as they were. */
  isSkipUntouched(index: number): boolean {
    return this.read(index, 1)
      .subarray(0, this.batch.skip)
      .every((byte) => byte === UNTOUCHED);
  }

  release(): void {
    this.#windows.invalidate();
    for (const mapping of this.#mappings) mapping.release();
  }

  #isUntouched(window: number, from: number, to: number): boolean {
    const bytes = this.#windows.bytes(window);
    for (let at = from; at < to; at += 1) if (bytes[at] !== UNTOUCHED) return false;
    return true;
  }

  *#pieces(index: number, count: number): Generator<Uint8Array> {
    const { firstSegment, segments } = this.batch;
    const end = firstSegment[index + count] as number;
    for (let s = firstSegment[index] as number; s < end; s += 1) {
      yield segments.bytes(s, this.#windows);
    }
  }
}
