import { ERRNO } from '../errors/vhost-error.js';
import type { PacketBatch } from '../virtqueue/packet-batch.js';
import { type FrameCopier, PlainCopier } from './frame-copier.js';

/** Bytes and frames that a store holds unless told otherwise. */
const DEFAULT_BYTES = 4 * 1024 * 1024;
const DEFAULT_FRAMES = 4096;

/**
 * A bounded first-in first-out store of frames: whole batches go in by one gather and come out by
 * one scatter. The frames of one batch lie one after the other in a flat buffer, which is begun
 * again from its first byte whenever it has run empty or its end is reached.
 */
export class FrameStore {
  readonly #bytes: Uint8Array;
  readonly #lengths: Uint32Array;
  readonly #starts: Uint32Array;
  /** Frames put in and taken out, ever; the slot of one is its number modulo the capacity. */
  #in = 0;
  #out = 0;
  /** Where the next frame goes. */
  #at = 0;

  constructor(
    private readonly copier: FrameCopier = new PlainCopier(),
    bytes = DEFAULT_BYTES,
    private readonly frames = DEFAULT_FRAMES,
  ) {
    this.#bytes = new Uint8Array(bytes);
    this.#lengths = new Uint32Array(frames);
    this.#starts = new Uint32Array(frames);
  }

  /** Frames in the store. */
  get count(): number {
    return this.#in - this.#out;
  }

  /**
   * Takes in frames `first …` of a batch; returns how many were disposed of: taken in, or refused
   * with a negative errno in `results`, `EMSGSIZE` where one is larger than the whole store.
   */
  put(batch: PacketBatch, first: number): number {
    let next = first;
    while (next < batch.count) {
      const slot = this.#in % this.frames;
      const room = Math.min(this.frames - this.count, this.frames - slot);
      const all = batch.count;
      // The copier fills to the end of what it sees: show it no more frames than there are slots.
      batch.count = Math.min(all, next + room);
      const copied = this.copier.gather(batch, next, this.#free(), this.#at);
      batch.count = all;
      if (copied === 0) {
        const length = batch.frameLength(next);
        if (length > this.#bytes.length) {
          batch.results[next] = -ERRNO.EMSGSIZE;
          next += 1;
        } else if (room === 0 || !this.#wrap(length)) return next - first;
        continue;
      }
      for (let frame = next; frame < next + copied; frame += 1) {
        const length = batch.results[frame] as number;
        // A frame that the copier could not reach takes no room.
        if (length < 0) continue;
        const at = this.#in % this.frames;
        this.#lengths[at] = length;
        this.#starts[at] = this.#at;
        this.#at += length;
        this.#in += 1;
      }
      next += copied;
    }
    return next - first;
  }

  /** Delivers frames into a receive batch; returns how many chains they fill. */
  take(batch: PacketBatch): number {
    while (this.count > 0) {
      const slot = this.#out % this.frames;
      const run = this.#runFrom(slot);
      const start = this.#starts[slot] as number;
      const taken = this.copier.scatter(batch, this.#bytes, start, this.#lengths, slot, run);
      this.#out += taken;
      if (taken < run) break;
    }
    let chains = 0;
    for (let frame = 0; frame < batch.frameCount; frame += 1) {
      chains += batch.frameChains[frame] as number;
    }
    return chains;
  }

  /** Lets all frames go. */
  clear(): void {
    this.#out = this.#in;
    this.#at = 0;
  }

  /** The buffer up to where frames still wait to be taken. */
  #free(): Uint8Array {
    if (this.count === 0) this.#at = 0;
    else {
      const oldest = this.#starts[this.#out % this.frames] as number;
      if (oldest >= this.#at) return this.#bytes.subarray(0, oldest);
    }
    return this.#bytes;
  }

  /** Goes on at the buffer's first byte, if a frame of `length` fits before the oldest one. */
  #wrap(length: number): boolean {
    if (this.count === 0 || this.#at === 0) return false;
    const oldest = this.#starts[this.#out % this.frames] as number;
    if (oldest >= this.#at || length > oldest) return false;
    this.#at = 0;
    return true;
  }

  /** How many frames from `slot` on lie one after the other, in slots and in the buffer. */
  #runFrom(slot: number): number {
    const most = Math.min(this.count, this.frames - slot);
    let end = this.#starts[slot] as number;
    let run = 0;
    while (run < most && this.#starts[slot + run] === end) {
      end += this.#lengths[slot + run] as number;
      run += 1;
    }
    return run;
  }
}
