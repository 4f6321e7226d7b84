import { PacketBatch, WindowTable } from '../../src/index.js';

/** A batch over plain memory of its own that tests fill by hand. */
export class LooseBatch {
  readonly batch = new PacketBatch();
  readonly bytes: Uint8Array;
  readonly #windows: WindowTable;
  #at = 0;

  constructor(size = 4 * 1024 * 1024) {
    const buffer = new ArrayBuffer(size);
    this.bytes = new Uint8Array(buffer);
    this.#windows = new WindowTable([{ buffer, address: 0, guestBase: 0 }]);
    this.reset();
  }

  reset(): void {
    this.batch.reset(this.#windows, 0);
    this.batch.firstSegment[0] = 0;
    this.#at = 0;
  }

  /** A chain with these bytes, in segments of at most `piece` bytes. */
  add(bytes: Uint8Array, piece = 0x10_0000): void {
    this.bytes.set(bytes, this.#at);
    this.addSpace(bytes.length, piece);
  }

  /** An empty chain of `length` bytes. */
  addSpace(length: number, piece = 0x10_0000): void {
    const { batch } = this;
    batch.heads[batch.count] = batch.count;
    batch.lengths[batch.count] = length;
    for (let from = 0; from < length; from += piece) {
      batch.segments.push(0, this.#at + from, Math.min(piece, length - from));
    }
    this.#at += length;
    batch.count += 1;
    batch.firstSegment[batch.count] = batch.segments.count;
  }

  /** Received frame `index`, header included. */
  received(index: number): Uint8Array {
    const { batch } = this;
    let chain = 0;
    for (let frame = 0; frame < index; frame += 1) chain += batch.frameChains[frame] as number;
    const start = batch.segments.offset[batch.firstSegment[chain] as number] as number;
    return this.bytes.slice(start, start + (batch.frameLengths[index] as number));
  }
}
