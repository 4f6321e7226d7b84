import { copyBytes, type PacketBatch } from '@rxvhost/core';
import { HEADER_BYTES } from '../protocol/limits.js';
import type { PacketHeader } from '../protocol/packet-header.js';

/**
 * Reads packets out of descriptor chains, however the driver has split header and payload over
 * descriptors (hazard T78). The header is copied before anything in it is believed: the guest may
 * change its memory at any time. Payload is not copied here, only seen through views.
 */
export class ChainReader {
  readonly #header = new DataView(new ArrayBuffer(HEADER_BYTES));
  readonly #pieces: Uint8Array[] = [];

  /** Reads the header of chain `index`, which has at least {@link HEADER_BYTES} bytes. */
  readHeader(batch: PacketBatch, index: number, header: PacketHeader): void {
    const { firstSegment, segments, windows } = batch;
    const { window, offset, length } = segments;
    let segment = firstSegment[index] as number;
    if ((length[segment] as number) >= HEADER_BYTES) {
      const source = windows.view(window[segment] as number);
      copyBytes(source, offset[segment] as number, this.#header, 0, HEADER_BYTES);
    } else {
      for (let at = 0; at < HEADER_BYTES; segment += 1) {
        const bytes = Math.min(length[segment] as number, HEADER_BYTES - at);
        const source = windows.view(window[segment] as number);
        copyBytes(source, offset[segment] as number, this.#header, at, bytes);
        at += bytes;
      }
    }
    header.read(this.#header, 0);
  }

  /**
   * The `bytes` of payload behind the header of chain `index`, which has so many: views of guest
   * memory, in an array that the next call fills again.
   */
  payload(batch: PacketBatch, index: number, bytes: number): readonly Uint8Array[] {
    const { firstSegment, segments, windows } = batch;
    const { window, offset, length } = segments;
    const pieces = this.#pieces;
    pieces.length = 0;
    let skip = HEADER_BYTES;
    let left = bytes;
    for (let segment = firstSegment[index] as number; left > 0; segment += 1) {
      const all = length[segment] as number;
      const from = Math.min(skip, all);
      skip -= from;
      const size = Math.min(all - from, left);
      if (size === 0) continue;
      const start = (offset[segment] as number) + from;
      pieces.push(windows.bytes(window[segment] as number).subarray(start, start + size));
      left -= size;
    }
    return pieces;
  }
}
