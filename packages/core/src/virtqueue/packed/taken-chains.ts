import type { VhostError } from '../../errors/vhost-error.js';
import { tooManyOutstanding, unknownId, usedTwice } from '../chain-faults.js';

const NO_HEADS = new Uint32Array(0);

/**
 * The chains of a packed ring that the device has: how many descriptors each holds, since a used
 * descriptor skips so many, and which were taken last, since those may be put back.
 *
 * Chains of one descriptor, the usual case, cost nothing here: only longer ones are noted by their id,
 * and an id that is noted is not noted again. So whatever ids a driver uses, and uses twice, the
 * descriptors of all that was taken are those of all that is given back.
 */
export class TakenChains {
  /** By buffer id: descriptors of the chain, 0 for one descriptor or none. */
  readonly descriptors: Uint16Array;
  /** Chains that are noted there: with none, every chain has one descriptor. */
  noted = 0;
  /** Descriptors between the used and the available position. */
  outstanding: number;
  /** Ids of the last take, how many there are, and how many of those were put back. */
  #heads: Uint32Array = NO_HEADS;
  #count = 0;
  #returned = 0;
  /** Descriptors of each of the chains that were put back, from the one taken first. */
  #returnedDescriptors = new Uint16Array(0);

  constructor(
    readonly size: number,
    outstanding: number,
  ) {
    this.descriptors = new Uint16Array(size);
    this.outstanding = outstanding;
  }

  /** Why a chain cannot be taken too, if so (T39). */
  refuse(id: number, descriptors: number): VhostError | undefined {
    if (id >= this.size) return unknownId(id, this.size);
    if (descriptors > 1 && this.descriptors[id] !== 0) return usedTwice(id);
    if (this.outstanding + descriptors > this.size) return tooManyOutstanding(this.size);
    return undefined;
  }

  add(id: number, descriptors: number): void {
    if (descriptors > 1) {
      this.descriptors[id] = descriptors;
      this.noted += 1;
    }
    this.outstanding += descriptors;
  }

  /** A chain is given back; returns its descriptors. */
  remove(id: number): number {
    const held = this.descriptors[id] as number;
    if (held === 0) return 1;
    this.descriptors[id] = 0;
    this.noted -= 1;
    return held;
  }

  /** A take has come to its end: `count` of `heads` may be put back. */
  took(heads: Uint32Array, count: number): void {
    this.#heads = heads;
    this.#count = count;
    this.#returned = 0;
  }

  /** Takes back the last `chains` of the last take; returns their descriptors. */
  putBack(chains: number): number {
    const heads = this.#heads;
    if (this.#returnedDescriptors.length < heads.length) {
      this.#returnedDescriptors = new Uint16Array(heads.length);
    }
    let sum = 0;
    for (let left = chains; left > 0 && this.#count > 0; left -= 1) {
      this.#count -= 1;
      const held = this.remove(heads[this.#count] as number);
      this.#returnedDescriptors[this.#count] = held;
      sum += held;
      this.#returned += 1;
    }
    this.outstanding -= sum;
    return sum;
  }

  /** Descriptors of the first `chains` chains that were put back. */
  returnedDescriptors(chains: number): number {
    let sum = 0;
    const end = this.#count + Math.min(chains, this.#returned);
    for (let chain = this.#count; chain < end; chain += 1) {
      sum += this.#returnedDescriptors[chain] as number;
    }
    return sum;
  }
}
