import { VhostError } from '@rxvhost/core';
import { DEFAULT_CONNECTION_OPTIONS } from '../connection/connection-options.js';
import { MAX_BUFFER_SIZE } from '../connection/receive-credit.js';

/** The least buffer of a socket unless told otherwise, as in Linux. */
export const DEFAULT_MIN_BUFFER_SIZE = 128;

/**
 * A socket's three buffer-size options (`SO_VM_SOCKETS_BUFFER_SIZE`, `…_MIN_SIZE`, `…_MAX_SIZE`;
 * seed D8), in bytes. A size outside the bounds moves the bound; a bound that passes the size moves
 * the size.
 */
export class BufferSizes {
  #size: number;
  #min = DEFAULT_MIN_BUFFER_SIZE;
  #max: number;

  constructor(size = DEFAULT_CONNECTION_OPTIONS.bufferSize) {
    this.#size = check(size);
    this.#min = Math.min(this.#min, size);
    this.#max = Math.max(DEFAULT_CONNECTION_OPTIONS.bufferSize, size);
  }

  get size(): number {
    return this.#size;
  }

  get min(): number {
    return this.#min;
  }

  get max(): number {
    return this.#max;
  }

  /** Each throws `EINVAL` for less than 1 byte or more than 1 GiB. */
  setSize(bytes: number): void {
    this.#size = check(bytes);
    this.#min = Math.min(this.#min, bytes);
    this.#max = Math.max(this.#max, bytes);
  }

  setMin(bytes: number): void {
    this.#min = check(bytes);
    this.#size = Math.max(this.#size, bytes);
    this.#max = Math.max(this.#max, bytes);
  }

  setMax(bytes: number): void {
    this.#max = check(bytes);
    this.#size = Math.min(this.#size, bytes);
    this.#min = Math.min(this.#min, bytes);
  }
}

function check(bytes: number): number {
  if (Number.isInteger(bytes) && bytes > 0 && bytes <= MAX_BUFFER_SIZE) return bytes;
  throw new VhostError('EINVAL', `a vsock buffer of ${bytes} bytes, 1 to ${MAX_BUFFER_SIZE} fit`);
}
