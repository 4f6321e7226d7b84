import { GuestMemory } from '../memory/guest-memory.js';
import type { MemoryMapping } from '../memory/mapping.js';
import type { WindowTable } from '../memory/window-table.js';
import { PacketBatch } from '../virtqueue/packet-batch.js';
import { VIRTQUEUES } from '../virtqueue/virtqueues.js';
import { FRAME_RING_BYTES, type FrameBuffer, FrameRing, type RingLayout } from './frame-ring.js';

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

/** Guest-physical addresses of the regions: two for chains, one for the ring. */
const REGIONS = [0x1000_0000, 0x2000_0000, 0x3000_0000] as const;
const RING = 2;

/**
 * A guest's memory: two regions in which chains lie, their segments in one and the other by turns, so
 * that no two segments of a frame are neighbours, and a third with a ring, from which a virtqueue
 * takes them as a device's would.
 */
export class FrameMemory {
  readonly batch = new PacketBatch();
  readonly #memory = new GuestMemory();
  readonly #windows: WindowTable;
  readonly #ring: FrameRing;
  readonly #slot: number;
  #chains: FrameBuffer[][] = [];
  #skip = 0;

  /** @param chainLength - the most bytes in one chain */
  constructor(
    memory: (bytes: number) => MemoryMapping,
    chainLength: number,
    layout: RingLayout = 'split',
  ) {
    this.#slot = (chainLength + 2 * GUARD + 7) & ~7;
    const chains = this.#slot * MOST_CHAINS;
    this.#memory.replace(
      REGIONS.map((address, region) => {
        const size = region === RING ? FRAME_RING_BYTES : chains;
        return { guestAddress: address, userAddress: address, size, mapping: memory(size) };
      }),
    );
    this.#windows = this.#memory.table.windows;
    const bytes = this.#windows.bytes(RING).subarray(0, FRAME_RING_BYTES);
    this.#ring = new FrameRing(layout, bytes, REGIONS[RING]);
  }

  /** No chains. */
  begin({ skip = 0 }: ChainLayout): void {
    this.#chains = [];
    this.#skip = skip;
    this.batch.chainsPerFrame = 1;
    this.batch.largest = false;
    this.batch.results.fill(0x7fff_ffff);
  }

  /** Adds a chain of `length` bytes, what is skipped included, all of them `UNTOUCHED`. */
  add(length: number, { segments = [length] }: ChainLayout): void {
    const slot = this.#chains.length * this.#slot;
    for (const window of [0, 1]) {
      this.#windows.bytes(window).fill(UNTOUCHED, slot, slot + this.#slot);
    }
    const buffers: FrameBuffer[] = [];
    for (let at = 0; at < length; at += buffers.at(-1)?.length ?? length) {
      const n = buffers.length;
      const piece = Math.min(segments[n % segments.length] as number, length - at);
      buffers.push({ address: (REGIONS[n & 1] as number) + slot + GUARD + at, length: piece });
    }
    this.#chains.push(buffers);
  }

  /** Fills the batch with the chains, for frames to be sent from them or received into them. */
  take(purpose: 'send' | 'receive'): void {
    const { batch } = this;
    const writable = purpose === 'receive';
    const { table } = this.#memory;
    const { addresses, size, features } = this.#ring;
    this.#ring.clear();
    for (const buffers of this.#chains) this.#ring.add(buffers, writable);
    const queue = VIRTQUEUES.create(
      table,
      addresses,
      size,
      features,
      VIRTQUEUES.initialBase(features),
    );
    if (writable) queue.takeWritable(batch, MOST_CHAINS, 0, this.#skip);
    else queue.takeReadable(batch, MOST_CHAINS, 0, this.#skip);
    if (queue.fault !== undefined) throw queue.fault;
    if (batch.count < this.#chains.length) throw new Error('too many segments');
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
    this.#memory.clear();
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
