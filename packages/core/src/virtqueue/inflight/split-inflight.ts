/**
 * The inflight region of a split queue. A header of 16 bytes: features u64, version u16, desc_num
 * u16, last_batch_head u16, used_idx u16; then for each descriptor 16 bytes: inflight u8, 5 bytes
 * unused, next u16, counter u64. Numbers are the machine's: little-endian here.
 *
 * - Taken: `counter`, which gives the order, then `inflight` 1, by the chain's head.
 * - Given back: each head becomes the first of the list that begins at `last_batch_head` and goes on
 *   by `next`; the used index is published; `inflight` 0 for each; `used_idx` like the ring's.
 * - Found by the next back-end: where `used_idx` is not the ring's, the difference is how many of the
 *   list were published without being struck out.
 */
import { VhostError } from '../../errors/vhost-error.js';
import { INFLIGHT_VERSION, type Inflight } from './inflight.js';

const HEADER_BYTES = 16;
const ENTRY_BYTES = 16;
const VERSION_AT = 8;
const SIZE_AT = 10;
const LAST_BATCH_AT = 12;
const USED_AT = 14;
const NEXT_IN_ENTRY = 6;
const COUNTER_IN_ENTRY = 8;
const INDEX_MASK = 0xffff;

/** Bytes of the region of a queue with `size` descriptors. */
export function splitInflightBytes(size: number): number {
  return HEADER_BYTES + ENTRY_BYTES * size;
}

/** Where the next back-end goes on: see {@link SplitInflight.recover}. */
export interface SplitRingState {
  /** The used index in the ring. */
  readonly used: number;
  /** The head that the available ring has for this index. */
  availableHead(index: number): number;
}

/** Keeps the region of one split queue. */
export class SplitInflight implements Inflight {
  readonly #view: DataView;
  readonly #size: number;
  /** The heads taken last, by their number modulo the size: for `putBack`. */
  readonly #order: Uint16Array;
  /** Chains taken ever, which is the next counter. */
  #counter = 0;

  /**
   * @param view - the region, {@link splitInflightBytes} long
   * @param size - of the queue, a power of two
   *
   * Throws `EINVAL` for a region that is too small.
   */
  constructor(view: DataView, size: number) {
    if (view.byteLength < splitInflightBytes(size)) {
      throw new VhostError('EINVAL', `an inflight region of ${view.byteLength} bytes for ${size}`);
    }
    this.#view = view;
    this.#size = size;
    this.#order = new Uint16Array(size);
  }

  /**
   * Takes over what the back-end before left, or begins with an empty region.
   * @returns the available index to go on with; undefined for a new region, which does not know
   *
   * Throws `EINVAL` for a region that is another queue's, or was left by a back-end that gives chains
   * back in another order than it took them: those that it had finished cannot be told to the ring.
   */
  recover(ring: SplitRingState): number | undefined {
    const view = this.#view;
    const version = view.getUint16(VERSION_AT, true);
    if (version === 0) {
      this.#begin(ring.used);
      return undefined;
    }
    const size = view.getUint16(SIZE_AT, true);
    if (version !== INFLIGHT_VERSION || size !== this.#size) {
      throw new VhostError('EINVAL', `an inflight region of version ${version} for ${size}`);
    }
    const published = (ring.used - view.getUint16(USED_AT, true)) & INDEX_MASK;
    if (published > this.#size) {
      // The ring was begun anew: what is noted here belongs to its former life.
      this.#begin(ring.used);
      return ring.used;
    }
    this.#strikeOut(published);
    view.setUint16(USED_AT, ring.used, true);
    const heads = this.#inOrder();
    for (const [at, head] of heads.entries()) {
      if (ring.availableHead((ring.used + at) & INDEX_MASK) !== head) {
        throw new VhostError('EINVAL', 'the inflight region has chains out of order');
      }
    }
    this.#counter = heads.length === 0 ? 0 : this.#counterOf(heads.at(-1) as number) + 1;
    // They are taken again from the ring, and noted again then. The newest goes first: whatever is
    // left by a death in the middle are still the oldest.
    for (const head of heads.reverse()) view.setUint8(this.#entry(head), 0);
    return ring.used;
  }

  taken(heads: Uint32Array, count: number): void {
    const view = this.#view;
    for (let chain = 0; chain < count; chain += 1) {
      const head = heads[chain] as number;
      const entry = this.#entry(head);
      this.#order[this.#counter & (this.#size - 1)] = head;
      view.setUint32(entry + COUNTER_IN_ENTRY, this.#counter, true);
      view.setUint32(entry + COUNTER_IN_ENTRY + 4, this.#counter / 0x1_0000_0000, true);
      this.#counter += 1;
      view.setUint8(entry, 1);
    }
  }

  putBack(count: number): void {
    for (let chain = 0; chain < count; chain += 1) {
      this.#counter -= 1;
      const head = this.#order[this.#counter & (this.#size - 1)] as number;
      this.#view.setUint8(this.#entry(head), 0);
    }
  }

  completing(heads: Uint32Array, first: number, count: number): void {
    const view = this.#view;
    for (let chain = first; chain < first + count; chain += 1) {
      const head = heads[chain] as number;
      view.setUint16(this.#entry(head) + NEXT_IN_ENTRY, view.getUint16(LAST_BATCH_AT, true), true);
      view.setUint16(LAST_BATCH_AT, head, true);
    }
  }

  completed(heads: Uint32Array, first: number, count: number, used: number): void {
    const view = this.#view;
    for (let chain = first; chain < first + count; chain += 1) {
      view.setUint8(this.#entry(heads[chain] as number), 0);
    }
    view.setUint16(USED_AT, used, true);
  }

  #begin(used: number): void {
    const view = this.#view;
    for (let head = 0; head < this.#size; head += 1) view.setUint8(this.#entry(head), 0);
    view.setUint16(SIZE_AT, this.#size, true);
    view.setUint16(LAST_BATCH_AT, 0, true);
    view.setUint16(USED_AT, used, true);
    view.setUint16(VERSION_AT, INFLIGHT_VERSION, true);
  }

  /** Strikes out the `count` chains that were listed last. */
  #strikeOut(count: number): void {
    const view = this.#view;
    let head = view.getUint16(LAST_BATCH_AT, true);
    for (let chain = 0; chain < count && head < this.#size; chain += 1) {
      view.setUint8(this.#entry(head), 0);
      head = view.getUint16(this.#entry(head) + NEXT_IN_ENTRY, true);
    }
  }

  /** Heads of what is in flight, the oldest first. */
  #inOrder(): number[] {
    const heads: number[] = [];
    for (let head = 0; head < this.#size; head += 1) {
      if (this.#view.getUint8(this.#entry(head)) === 1) heads.push(head);
    }
    return heads.sort((a, b) => this.#counterOf(a) - this.#counterOf(b));
  }

  #counterOf(head: number): number {
    const at = this.#entry(head) + COUNTER_IN_ENTRY;
    return this.#view.getUint32(at, true) + this.#view.getUint32(at + 4, true) * 0x1_0000_0000;
  }

  #entry(head: number): number {
    return HEADER_BYTES + ENTRY_BYTES * head;
  }
}
