import { VhostError } from '@rxvhost/core';
import { type NetHeader, readNetHeader } from './net-header.js';

/**
 * Received frames, as one emission of `frames$`. The batch and the bytes in it are the driver's: they
 * are valid until the subscriber returns, then the buffers go back to the device. Copy what you keep.
 */
export class FrameBatch implements Iterable<Uint8Array> {
  /** Frames in the batch. */
  count = 0;
  readonly #frames: Uint8Array[] = [];
  readonly #headers: Uint8Array[] = [];

  constructor(readonly headerLength: 10 | 12 | 20) {}

  /** Frame `index`, a view of guest memory. Throws `ERANGE` for an index that is not below `count`. */
  frame(index: number): Uint8Array {
    const frame = index < this.count ? this.#frames[index] : undefined;
    if (frame === undefined) throw new VhostError('ERANGE', `frame batch: no frame ${index}`);
    return frame;
  }

  /** The virtio-net header that stood before frame `index`. */
  header(index: number): NetHeader {
    const bytes = index < this.count ? this.#headers[index] : undefined;
    if (bytes === undefined) throw new VhostError('ERANGE', `frame batch: no frame ${index}`);
    return readNetHeader(bytes, this.headerLength);
  }

  *[Symbol.iterator](): Generator<Uint8Array> {
    for (let index = 0; index < this.count; index += 1) yield this.frame(index);
  }

  /** Driver only: appends a frame. */
  push(header: Uint8Array, frame: Uint8Array): void {
    this.#headers[this.count] = header;
    this.#frames[this.count] = frame;
    this.count += 1;
  }

  /** Driver only: empties the batch. */
  clear(): void {
    this.count = 0;
  }
}
