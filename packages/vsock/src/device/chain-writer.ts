import { copyBytes, type PacketBatch, VhostError } from '@rxvhost/core';
import type { PayloadSink } from '../carrier/packet-endpoint.js';
import { HEADER_BYTES } from '../protocol/limits.js';
import type { PacketHeader } from '../protocol/packet-header.js';

/**
 * Writes a packet into one descriptor chain: the payload as the endpoint hands it over, straight
 * into guest memory, then the header before it.
 */
export class ChainWriter implements PayloadSink {
  readonly #header = new DataView(new ArrayBuffer(HEADER_BYTES));
  #batch: PacketBatch | undefined;
  #first = 0;
  #end = 0;
  #segment = 0;
  #at = 0;

  /** Begins a packet in chain `index`, which has at least {@link HEADER_BYTES} bytes. */
  begin(batch: PacketBatch, index: number): void {
    this.#batch = batch;
    this.#first = batch.firstSegment[index] as number;
    this.#end = batch.firstSegment[index + 1] as number;
    this.#segment = this.#first;
    this.#at = 0;
    this.#advance(HEADER_BYTES);
  }

  /** Throws `EMSGSIZE` past the end of the chain: an endpoint that writes more than its room. */
  write(bytes: Uint8Array): void {
    const { segments, windows } = this.#batch as PacketBatch;
    for (let done = 0; done < bytes.length; ) {
      if (this.#segment >= this.#end) throw new VhostError('EMSGSIZE', 'a packet over its buffer');
      const room = (segments.length[this.#segment] as number) - this.#at;
      const size = Math.min(room, bytes.length - done);
      const to = (segments.offset[this.#segment] as number) + this.#at;
      const piece = size === bytes.length ? bytes : bytes.subarray(done, done + size);
      windows.bytes(segments.window[this.#segment] as number).set(piece, to);
      done += size;
      this.#advance(size);
    }
  }

  /** Ends the packet. */
  writeHeader(header: PacketHeader): void {
    const { segments, windows } = this.#batch as PacketBatch;
    const first = this.#first;
    if ((segments.length[first] as number) >= HEADER_BYTES) {
      const target = windows.view(segments.window[first] as number);
      header.write(target, segments.offset[first] as number);
      return;
    }
    header.write(this.#header, 0);
    for (let segment = first, at = 0; at < HEADER_BYTES; segment += 1) {
      const size = Math.min(segments.length[segment] as number, HEADER_BYTES - at);
      const target = windows.view(segments.window[segment] as number);
      copyBytes(this.#header, at, target, segments.offset[segment] as number, size);
      at += size;
    }
  }

  /** Goes on by `bytes`, over the borders of segments. */
  #advance(bytes: number): void {
    const { length } = (this.#batch as PacketBatch).segments;
    this.#at += bytes;
    while (this.#segment < this.#end && this.#at >= (length[this.#segment] as number)) {
      this.#at -= length[this.#segment] as number;
      this.#segment += 1;
    }
  }
}
