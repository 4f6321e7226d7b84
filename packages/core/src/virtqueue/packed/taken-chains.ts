import type { VhostError } from '../../errors/vhost-error.js';
import { tooManyOutstanding, unknownId, usedTwice } from '../chain-faults.js';

/**
 * The chains of a packed ring that the device has: how many descriptors each holds, since a used
 * descriptor skips so many, and in which order they were taken, since the last ones may be put back.
 * An id that is there is not taken again, so a driver that uses one twice cannot confuse the counts.
 */
export class TakenChains {
  /** By buffer id: descriptors of the chain, 0 for none. */
  readonly descriptors: Uint16Array;
  /** A circle of `id | descriptors << 16`, in the order of taking; `end` is where the next one goes. */
  readonly order: Uint32Array;
  end = 0;
  /** Descriptors between the used and the available position. */
  outstanding: number;
  /** Chains behind `end` that were taken last and put back. */
  #returned = 0;

  constructor(
    readonly size: number,
    outstanding: number,
  ) {
    this.descriptors = new Uint16Array(size);
    this.order = new Uint32Array(size);
    this.outstanding = outstanding;
  }

  /** A take begins: what it puts back will be counted anew. */
  begin(): void {
    this.#returned = 0;
  }

  /** Why a chain cannot be taken too, if so (T39). */
  refuse(id: number, descriptors: number): VhostError | undefined {
    if (id >= this.size) return unknownId(id, this.size);
    if (this.descriptors[id] !== 0) return usedTwice(id);
    if (this.outstanding + descriptors > this.size) return tooManyOutstanding(this.size);
    return undefined;
  }

  add(id: number, descriptors: number): void {
    this.descriptors[id] = descriptors;
    this.order[this.end] = id | (descriptors << 16);
    this.end = this.end + 1 === this.size ? 0 : this.end + 1;
    this.outstanding += descriptors;
  }

  /** Takes back the chain taken last; returns its descriptors. */
  putBack(): number {
    this.end = (this.end === 0 ? this.size : this.end) - 1;
    this.#returned += 1;
    const entry = this.order[this.end] as number;
    this.descriptors[entry & 0xffff] = 0;
    this.outstanding -= entry >>> 16;
    return entry >>> 16;
  }

  /** Descriptors of the first `chains` chains that were put back. */
  returnedDescriptors(chains: number): number {
    let descriptors = 0;
    for (let index = 0; index < Math.min(chains, this.#returned); index += 1) {
      descriptors += (this.order[(this.end + index) % this.size] as number) >>> 16;
    }
    return descriptors;
  }
}
