import { VhostError } from '../../errors/vhost-error.js';
import { DESCRIPTOR_NEXT } from '../descriptor.js';
import { INFLIGHT_VERSION, type Inflight } from './inflight.js';
import {
  ENTRY_BYTES,
  FREE_AT,
  HEADER_BYTES,
  IN_ENTRY,
  OLD_FREE_AT,
  OLD_USED_AT,
  OLD_WRAP_AT,
  packedInflightBytes,
  SIZE_AT,
  USED_AT,
  VERSION_AT,
  WRAP_AT,
} from './packed-inflight-layout.js';

const AVAILABLE_FLAG = 1 << 7;
const USED_FLAG = 1 << 15;
const POSITION = 0x7fff;
const WRAP = 0x8000;

/** A packed ring's descriptors as 32-bit words: address low and high, length, id and flags. */
export interface PackedDescriptors {
  readonly words: Int32Array;
  /** Index of the first descriptor's first word. */
  readonly first: number;
}

/** A chain in flight: its first entry, and how many it has. */
interface Chain {
  readonly entry: number;
  readonly descriptors: number;
}

/** Keeps the region of one packed queue. */
export class PackedInflight implements Inflight {
  readonly #view: DataView;
  readonly #size: number;
  /** What is in flight, the oldest first. */
  readonly #chains: Chain[] = [];
  #counter = 0;

  /**
   * @param view - the region, {@link packedInflightBytes} long
   * @param size - of the queue
   * @param ring - where its descriptors are now
   *
   * Throws `EINVAL` for a region that is too small.
   */
  constructor(
    view: DataView,
    size: number,
    private readonly ring: () => PackedDescriptors,
  ) {
    if (view.byteLength < packedInflightBytes(size)) {
      throw new VhostError('EINVAL', `an inflight region of ${view.byteLength} bytes for ${size}`);
    }
    this.#view = view;
    this.#size = size;
  }

  /**
   * Takes over what the back-end before left, or begins with an empty region. The ring is as it was
   * before anything unpublished was written to it.
   * @param base - the used position to begin a new region with, its wrap counter in bit 15
   * @returns the position to go on with; undefined for a new region, which does not know
   *
   * Throws `EINVAL` for a region that is another queue's, or does not fit the ring.
   */
  recover(base: number): number | undefined {
    const view = this.#view;
    const version = view.getUint16(VERSION_AT, true);
    if (version === 0) {
      this.#begin(base);
      view.setUint16(SIZE_AT, this.#size, true);
      view.setUint16(VERSION_AT, INFLIGHT_VERSION, true);
      return undefined;
    }
    const size = view.getUint16(SIZE_AT, true);
    if (version !== INFLIGHT_VERSION || size !== this.#size) {
      throw new VhostError('EINVAL', `an inflight region of version ${version} for ${size}`);
    }
    this.#settle();
    const used = view.getUint16(USED_AT, true) | (view.getUint8(WRAP_AT) === 1 ? WRAP : 0);
    if ((used & POSITION) >= size) {
      throw new VhostError(
        'EINVAL',
        `an inflight region at position ${used & POSITION} of ${size}`,
      );
    }
    const entries = this.#inFlight();
    this.#restore(entries, used);
    // The newest goes first: whatever is left by a death in the middle are still the oldest.
    for (const entry of entries.reverse()) view.setUint8(this.#at(entry), 0);
    this.#begin(used);
    return used;
  }

  taken(_heads: Uint32Array, count: number, from: number, to: number): void {
    let position = from & POSITION;
    let left = this.#distance(from, to);
    for (let chain = 0; chain < count; chain += 1) {
      const most = chain + 1 === count ? left : left - (count - chain - 1);
      const descriptors = this.#take(position, most, chain + 1 === count);
      position = (position + descriptors) % this.#size;
      left -= descriptors;
    }
  }

  putBack(count: number): void {
    const view = this.#view;
    for (let back = 0; back < count; back += 1) {
      const chain = this.#chains.pop();
      if (chain === undefined) return;
      const at = this.#at(chain.entry);
      view.setUint8(at, 0);
      this.#setNext(view.getUint16(at + IN_ENTRY.LAST, true), view.getUint16(FREE_AT, true));
      this.#setFree(chain.entry);
      this.#counter -= 1;
    }
  }

  completing(_heads: Uint32Array, _first: number, count: number): void {
    const view = this.#view;
    let used = view.getUint16(USED_AT, true);
    let wrap = view.getUint8(WRAP_AT);
    for (const { entry, descriptors } of this.#chains.slice(0, count)) {
      const last = view.getUint16(this.#at(entry) + IN_ENTRY.LAST, true);
      this.#setNext(last, view.getUint16(FREE_AT, true));
      view.setUint16(FREE_AT, entry, true);
      used += descriptors;
      if (used >= this.#size) {
        used -= this.#size;
        wrap ^= 1;
      }
    }
    view.setUint16(USED_AT, used, true);
    view.setUint8(WRAP_AT, wrap);
  }

  completed(_heads: Uint32Array, _first: number, count: number): void {
    for (const { entry } of this.#chains.splice(0, count)) this.#view.setUint8(this.#at(entry), 0);
    this.#follow();
  }

  /** Makes the old pair the same as the new one: what was done before is over. */
  #follow(): void {
    const view = this.#view;
    view.setUint16(OLD_FREE_AT, view.getUint16(FREE_AT, true), true);
    this.#setUsed(view.getUint16(USED_AT, true), view.getUint8(WRAP_AT));
  }

  /** Both pairs' positions and wrap counters in one store: in two, a death between would mix rounds. */
  #setUsed(used: number, wrap: number): void {
    const words = used | (used << 16);
    const low = BigInt(words >>> 0);
    this.#view.setBigUint64(USED_AT, low | (BigInt(wrap | (wrap << 8)) << 32n), true);
  }

  /** A region without a chain in flight, its used position at `used`. */
  #begin(used: number): void {
    for (let entry = 0; entry < this.#size; entry += 1) this.#setNext(entry, entry + 1);
    this.#setFree(0);
    this.#setUsed(used & POSITION, (used & WRAP) === 0 ? 0 : 1);
  }

  /** Decides whether the last batch was published. */
  #settle(): void {
    const view = this.#view;
    const old = view.getUint16(OLD_USED_AT, true);
    const wrap = view.getUint8(OLD_WRAP_AT);
    if (old >= this.#size) {
      throw new VhostError('EINVAL', `an inflight region at position ${old} of ${this.#size}`);
    }
    const { words, first } = this.ring();
    const flags = (words[first + 4 * old + 3] as number) >>> 16;
    const used = wrap === 1 ? AVAILABLE_FLAG | USED_FLAG : 0;
    if ((flags & (AVAILABLE_FLAG | USED_FLAG)) === used) {
      this.#follow();
      return;
    }
    view.setUint16(FREE_AT, view.getUint16(OLD_FREE_AT, true), true);
    this.#setUsed(old, wrap);
  }

  /** First entries of what is in flight, the oldest first. */
  #inFlight(): number[] {
    const view = this.#view;
    const free = new Set<number>();
    let entry = view.getUint16(FREE_AT, true);
    while (entry < this.#size && !free.has(entry)) {
      free.add(entry);
      entry = view.getUint16(this.#at(entry) + IN_ENTRY.NEXT, true);
    }
    const entries: number[] = [];
    for (let index = 0; index < this.#size; index += 1) {
      if (view.getUint8(this.#at(index)) !== 1) continue;
      // Given back already, but not struck out: only the list of free ones says so, and not for long.
      if (free.has(index)) view.setUint8(this.#at(index), 0);
      else entries.push(index);
    }
    return entries.sort((a, b) => this.#counterOf(a) - this.#counterOf(b));
  }

  /** Writes the descriptors of chains back to where they were, from position `used` on. */
  #restore(entries: readonly number[], used: number): void {
    const view = this.#view;
    const { words, first } = this.ring();
    let position = used & POSITION;
    let total = 0;
    for (const entry of entries) {
      const descriptors = view.getUint16(this.#at(entry) + IN_ENTRY.NUMBER, true);
      total += descriptors;
      if (descriptors === 0 || total > this.#size) {
        throw new VhostError('EINVAL', 'the inflight region has more than the ring');
      }
      let at = entry;
      for (let index = 0; index < descriptors; index += 1) {
        if (at >= this.#size) throw new VhostError('EINVAL', 'an inflight chain without an end');
        const from = this.#at(at);
        const to = first + 4 * position;
        words[to] = view.getUint32(from + IN_ENTRY.ADDRESS, true);
        words[to + 1] = view.getUint32(from + IN_ENTRY.ADDRESS + 4, true);
        words[to + 2] = view.getUint32(from + IN_ENTRY.LENGTH, true);
        words[to + 3] = view.getUint32(from + IN_ENTRY.ID, true);
        position = (position + 1) % this.#size;
        at = view.getUint16(from + IN_ENTRY.NEXT, true);
      }
    }
  }

  /**
   * Notes the chain that begins at `position`: `most` descriptors if it is the `last` one taken,
   * otherwise up to the one without NEXT. Returns how many.
   */
  #take(position: number, most: number, last: boolean): number {
    const view = this.#view;
    const { words, first } = this.ring();
    const entry = view.getUint16(FREE_AT, true);
    let at = entry;
    let descriptors = 0;
    for (let more = true; more; at = view.getUint16(this.#at(at) + IN_ENTRY.NEXT, true)) {
      const from = first + 4 * ((position + descriptors) % this.#size);
      const to = this.#at(at);
      const idAndFlags = words[from + 3] as number;
      view.setUint32(to + IN_ENTRY.ADDRESS, words[from] as number, true);
      view.setUint32(to + IN_ENTRY.ADDRESS + 4, words[from + 1] as number, true);
      view.setUint32(to + IN_ENTRY.LENGTH, words[from + 2] as number, true);
      view.setUint32(to + IN_ENTRY.ID, idAndFlags, true);
      view.setUint16(this.#at(entry) + IN_ENTRY.LAST, at, true);
      descriptors += 1;
      // The driver may have changed a flag since: the last chain has what is left in any case.
      const goesOn = last || ((idAndFlags >>> 16) & DESCRIPTOR_NEXT) !== 0;
      more = goesOn && descriptors < most;
    }
    const to = this.#at(entry);
    view.setUint16(to + IN_ENTRY.NUMBER, descriptors, true);
    view.setUint32(to + IN_ENTRY.COUNTER, this.#counter, true);
    view.setUint32(to + IN_ENTRY.COUNTER + 4, this.#counter / 0x1_0000_0000, true);
    view.setUint8(to, 1);
    this.#setFree(at);
    this.#counter += 1;
    this.#chains.push({ entry, descriptors });
    return descriptors;
  }

  #distance(from: number, to: number): number {
    const round = (from & WRAP) === (to & WRAP) ? 0 : this.#size;
    return (to & POSITION) - (from & POSITION) + round;
  }

  #setFree(entry: number): void {
    this.#view.setUint16(FREE_AT, entry, true);
    this.#view.setUint16(OLD_FREE_AT, entry, true);
  }

  #setNext(entry: number, next: number): void {
    this.#view.setUint16(this.#at(entry) + IN_ENTRY.NEXT, next, true);
  }

  #counterOf(entry: number): number {
    const at = this.#at(entry) + IN_ENTRY.COUNTER;
    return this.#view.getUint32(at, true) + this.#view.getUint32(at + 4, true) * 0x1_0000_0000;
  }

  #at(entry: number): number {
    return HEADER_BYTES + ENTRY_BYTES * entry;
  }
}
