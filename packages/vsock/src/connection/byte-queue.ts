/** Bytes of a block that begins with a small packet; later ones are put into the same block. */
const SMALL_BLOCK = 4096;
/** A packet of fewer bytes shares a block with those after it (hazard T72). */
const SMALL_PACKET = 2048;
/**
 * Bytes of a stream's largest block. Larger ones would be fewer, but the C library gives their memory
 * back to the system again and again: with 64 KiB a transfer took 1.5 times the processor time.
 */
const STREAM_BLOCK = 16 * 1024;

/**
 * Received bytes in order. Each packet is copied once, into blocks of exactly its size; small ones
 * fill up a common block, so that a peer which sends single bytes costs a byte each and not an
 * object: the memory behind the queue is its bytes and at most one half-filled block. Only a stream's
 * blocks have a largest size: a message should be one piece.
 */
export class ByteQueue {
  /** All but the last are full; bytes before `#start` of the first were taken. */
  readonly #blocks: Buffer[] = [];
  #start = 0;
  /** Bytes in the last block. */
  #filled = 0;
  #length = 0;

  constructor(readonly unit: 'bytes' | 'messages') {}

  /** Bytes in the queue. */
  get length(): number {
    return this.#length;
  }

  /** Appends a copy of `length` bytes, which `pieces` hold together. */
  append(pieces: readonly Uint8Array[], length: number): void {
    if (this.#length === 0 && length >= SMALL_PACKET) this.clear();
    let block = this.#blocks.at(-1);
    let rest = length;
    for (const piece of pieces) {
      for (let at = 0; at < piece.length; ) {
        if (block === undefined || this.#filled === block.length) block = this.#newBlock(rest);
        const bytes = Math.min(piece.length - at, block.length - this.#filled);
        const whole = bytes === piece.length;
        block.set(whole ? piece : piece.subarray(at, at + bytes), this.#filled);
        this.#filled += bytes;
        at += bytes;
        rest -= bytes;
      }
    }
    this.#length += length;
  }

  /** Takes the next bytes out, as many as lie in one piece. Undefined when there are none. */
  takePiece(): Buffer | undefined {
    return this.#length === 0 ? undefined : this.#takeFromFirst(Number.POSITIVE_INFINITY);
  }

  /** Takes just `length` bytes out, which must be there. They are copied when they lie in several blocks. */
  take(length: number): Buffer {
    if (length === 0) return Buffer.alloc(0);
    const first = this.#takeFromFirst(length);
    if (first.length === length) return first;
    const whole = Buffer.allocUnsafeSlow(length);
    whole.set(first);
    for (let at = first.length; at < length; ) {
      const piece = this.#takeFromFirst(length - at);
      whole.set(piece, at);
      at += piece.length;
    }
    return whole;
  }

  clear(): void {
    this.#blocks.length = 0;
    this.#start = 0;
    this.#filled = 0;
    this.#length = 0;
  }

  #newBlock(bytes: number): Buffer {
    const large = this.unit === 'messages' ? bytes : Math.min(bytes, STREAM_BLOCK);
    const block = Buffer.allocUnsafeSlow(bytes < SMALL_PACKET ? SMALL_BLOCK : large);
    this.#blocks.push(block);
    this.#filled = 0;
    return block;
  }

  #takeFromFirst(most: number): Buffer {
    const block = this.#blocks[0] as Buffer;
    const end = this.#blocks.length === 1 ? this.#filled : block.length;
    const start = this.#start;
    const stop = Math.min(end, start + most);
    this.#length -= stop - start;
    this.#start = stop;
    if (stop === block.length) {
      this.#blocks.shift();
      this.#start = 0;
      if (this.#blocks.length === 0) this.#filled = 0;
    }
    return start === 0 && stop === block.length ? block : block.subarray(start, stop);
  }
}
