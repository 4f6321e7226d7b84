import { DESCRIPTOR_WRITE } from '../descriptor.js';
import type { PacketBatch } from '../packet-batch.js';
import { PACKED_AVAILABLE, PACKED_USED } from './packed-layout.js';
import type { PackedRing } from './packed-ring.js';
import type { PackedRingLog } from './packed-ring-log.js';
import { RingCursor } from './ring-cursor.js';
import type { TakenChains } from './taken-chains.js';

/** Flags of a used descriptor in its last word, above the id. */
const WROTE = DESCRIPTOR_WRITE << 16;
const USED_IN_ROUND_1 = (PACKED_AVAILABLE | PACKED_USED) << 16;

/**
 * Writes used descriptors. All but the first of a batch stand in the ring at once; with the first,
 * which {@link publish} completes, the driver sees them all (seeds B5, C7).
 */
export class PackedUsed {
  /** Where the next used descriptor goes. */
  readonly at: RingCursor;

  /** Where the first descriptor of the batch stands, its last word, and the descriptors behind it. */
  #first = 0;
  #firstWord = 0;
  #pending = 0;

  /** @param start - position and wrap counter, as half a base */
  constructor(
    private readonly taken: TakenChains,
    start: number,
  ) {
    this.at = new RingCursor(start, taken.size);
  }

  /** Chains that nothing was written to, each with a descriptor of its own. */
  readable(ring: PackedRing, heads: Uint32Array, first: number, count: number): void {
    const end = first + Math.min(count, this.taken.outstanding);
    if (end === first) return;
    this.#write(ring, heads[first] as number, 0);
    if (this.#pending === 0) return;
    if (this.taken.noted > 0) {
      this.#writeLonger(ring, heads, first + 1, end);
      return;
    }
    // Chains of one descriptor, in two runs where they go around the ring's end.
    const left = Math.min(end - first - 1, this.taken.outstanding);
    const ahead = Math.min(left, ring.size - this.at.position);
    this.#writePlain(ring, heads, first + 1, ahead);
    this.#writePlain(ring, heads, first + 1 + ahead, left - ahead);
  }

  /** As {@link #write}, behind the first of a batch, for chains of any number of descriptors. */
  #writeLonger(ring: PackedRing, heads: Uint32Array, first: number, end: number): void {
    const { words, size } = ring;
    const { descriptors } = this.taken;
    let { position } = this.at;
    let turn = this.at.wrap === 1 ? USED_IN_ROUND_1 : 0;
    let passed = 0;
    let noted = 0;
    for (let chain = first; chain < end; chain += 1) {
      const id = heads[chain] as number;
      let held = descriptors[id] as number;
      if (held === 0) held = 1;
      else {
        descriptors[id] = 0;
        noted += 1;
      }
      const at = (ring.first + 4 * position + 2) | 0;
      words[at] = 0;
      words[(at + 1) | 0] = id | turn;
      passed += held;
      position += held;
      if (position >= size) {
        position -= size;
        turn ^= USED_IN_ROUND_1;
      }
    }
    this.taken.noted -= noted;
    this.#pass(passed);
  }

  /** The hot loop of sending: as {@link #write}, behind the first of a batch. */
  #writePlain(ring: PackedRing, heads: Uint32Array, first: number, count: number): void {
    const { words } = ring;
    const turn = this.at.wrap === 1 ? USED_IN_ROUND_1 : 0;
    const end = (first + count) | 0;
    let at = (ring.first + 4 * this.at.position + 2) | 0;
    for (let chain = first | 0; chain < end; chain = (chain + 1) | 0) {
      const id = heads[chain] as number;
      words[at] = 0;
      words[(at + 1) | 0] = id | turn;
      at = (at + 4) | 0;
    }
    this.#pass(count);
  }

  /** The same in one descriptor for all: it names the last, and the driver knows the others (IN_ORDER). */
  batch(ring: PackedRing, heads: Uint32Array, first: number, count: number): void {
    const end = first + Math.min(count, this.taken.outstanding);
    if (end === first) return;
    let skipped = 0;
    for (let chain = first; chain < end - 1; chain += 1) {
      skipped += this.taken.remove(heads[chain] as number);
    }
    this.#write(ring, heads[end - 1] as number, 0, skipped);
  }

  /** The chains that the frames of a receive batch fill, with the bytes written in each. */
  writable(ring: PackedRing, batch: PacketBatch): void {
    const { heads, lengths, frameLengths, frameChains, frameCount, skip } = batch;
    let chain = 0;
    for (let frame = 0; frame < frameCount; frame += 1) {
      if (frameChains[frame] === 1 && this.taken.noted === 0 && this.#pending > 0) {
        const written = this.#writeFrames(ring, batch, frame, chain);
        frame += written;
        chain += written;
        if (frame === frameCount) return;
      }
      const end = chain + (frameChains[frame] as number);
      let left = (frameLengths[frame] as number) + skip;
      for (; chain < end; chain += 1) {
        const written = Math.min(left, lengths[chain] as number);
        this.#write(ring, heads[chain] as number, written);
        left -= written;
      }
    }
  }

  /**
   * The hot loop of receiving: frames of one chain each, of one descriptor each, up to the ring's end;
   * as {@link #write}, behind the first of a batch. Returns how many.
   */
  #writeFrames(ring: PackedRing, batch: PacketBatch, frame: number, chain: number): number {
    const { words } = ring;
    const { columns, lengthsAt } = batch;
    const most = Math.min(
      batch.frameCount - frame,
      ring.size - this.at.position,
      this.taken.outstanding,
    );
    const skip = batch.skip | 0;
    const turn = this.at.wrap === 1 ? USED_IN_ROUND_1 : 0;
    const frames = (batch.frameLengthsAt + frame - chain) | 0;
    const chains = (batch.frameChainsAt + frame - chain) | 0;
    const end = (chain + most) | 0;
    let at = (ring.first + 4 * this.at.position + 2) | 0;
    let next = chain | 0;
    for (; next < end && columns[(chains + next) | 0] === 1; next = (next + 1) | 0) {
      const left = ((columns[(frames + next) | 0] as number) + skip) >>> 0;
      const room = (columns[(lengthsAt + next) | 0] as number) >>> 0;
      const written = left < room ? left : room;
      words[at] = written;
      words[(at + 1) | 0] = (columns[next] as number) | turn | (written > 0 ? WROTE : 0);
      at = (at + 4) | 0;
    }
    const count = next - chain;
    this.#pass(count);
    return count;
  }

  /**
   * Shows the driver what was written since the last time: a store with release order, and a full
   * barrier after it.
   * @returns descriptors passed
   */
  publish(ring: PackedRing, log: PackedRingLog | undefined): number {
    const passed = this.#pending;
    if (passed === 0) return 0;
    this.#pending = 0;
    log?.descriptors(this.#first, passed);
    Atomics.store(ring.words, ring.first + 4 * this.#first + 3, this.#firstWord);
    log?.descriptors(this.#first, 1);
    return passed;
  }

  /** @param skipped - descriptors of chains before it that the same used descriptor is for */
  #write(ring: PackedRing, id: number, written: number, skipped = 0): void {
    const { words, first } = ring;
    const passed = skipped + this.taken.remove(id);
    // Nothing is out: it has been given back before.
    if (passed > this.taken.outstanding) return;
    const { position, wrap } = this.at;
    const at = first + 4 * position;
    const word = id | (wrap === 1 ? USED_IN_ROUND_1 : 0) | (written > 0 ? WROTE : 0);
    words[at + 2] = written;
    if (this.#pending === 0) {
      this.#first = position;
      this.#firstWord = word;
    } else {
      words[at + 3] = word;
    }
    this.#pass(passed);
  }

  /** Used descriptors have been written for so many of the ring's. */
  #pass(descriptors: number): void {
    this.#pending += descriptors;
    this.taken.outstanding -= descriptors;
    this.at.move(descriptors);
  }
}
