import { VhostError } from '@rxvhost/core';

/** The most buffers that one list holds unless told otherwise. */
export const DEFAULT_BUFFER_LIST_CAPACITY = 64;

/**
 * The buffers of one descriptor chain, for a driver to give to the device: first those that the
 * device may only read, then those that it may only write. Made once and refilled for each chain.
 */
export class BufferList {
  /** Guest-physical address of each buffer. */
  readonly addresses: Float64Array;
  /** Bytes in each buffer. */
  readonly lengths: Uint32Array;
  #count = 0;
  #readable = 0;

  constructor(readonly capacity = DEFAULT_BUFFER_LIST_CAPACITY) {
    this.addresses = new Float64Array(capacity);
    this.lengths = new Uint32Array(capacity);
  }

  /** Buffers in the list. */
  get count(): number {
    return this.#count;
  }

  /** How many of them, from the first on, the device reads; it writes the others. */
  get readable(): number {
    return this.#readable;
  }

  /** Empties the list. */
  clear(): this {
    this.#count = 0;
    this.#readable = 0;
    return this;
  }

  /** Appends a buffer for the device to read. Throws `EINVAL` after a writable one: the ring has no such chains. */
  addReadable(address: number, length: number): this {
    if (this.#readable !== this.#count) {
      throw new VhostError('EINVAL', 'buffer list: a readable buffer after a writable one');
    }
    this.#push(address, length);
    this.#readable = this.#count;
    return this;
  }

  /** Appends a buffer for the device to write. Throws `ENOBUFS` when the list is full. */
  addWritable(address: number, length: number): this {
    this.#push(address, length);
    return this;
  }

  #push(address: number, length: number): void {
    if (this.#count === this.capacity) {
      throw new VhostError('ENOBUFS', `buffer list: over ${this.capacity} buffers`);
    }
    this.addresses[this.#count] = address;
    this.lengths[this.#count] = length;
    this.#count += 1;
  }
}
