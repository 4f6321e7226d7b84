import type { PayloadSink } from '../carrier/packet-endpoint.js';
import { MessageFlag } from '../protocol/operation.js';

/** What a user has sent in one call, by reference. */
interface Chunk {
  readonly bytes: Uint8Array;
  readonly endOfRecord: boolean;
  readonly sent: (() => void) | undefined;
}

/** Chunks that have gone are taken off the array when they are this many. */
const TRIM = 256;

/**
 * What a user has sent and no packet has carried yet. A stream's chunks are put together, so that
 * many small ones make one packet (hazard T72), or cut up; a message's packets hold nothing else.
 */
export class SendQueue {
  readonly #chunks: Chunk[] = [];
  #first = 0;
  /** Bytes of the first chunk that have gone. */
  #offset = 0;
  #length = 0;
  /** Who is to be told that his bytes have gone. */
  readonly #gone: (() => void)[] = [];

  /** Bytes that wait. */
  get length(): number {
    return this.#length;
  }

  /** True when nothing waits, not even an empty message. */
  get isEmpty(): boolean {
    return this.#first === this.#chunks.length;
  }

  /** True when what comes next is a message without a byte. */
  get emptyMessageIsNext(): boolean {
    return this.#chunks[this.#first]?.bytes.length === 0;
  }

  push(bytes: Uint8Array, sent: (() => void) | undefined, endOfRecord: boolean): void {
    this.#chunks.push({ bytes, sent, endOfRecord });
    this.#length += bytes.length;
  }

  /** Moves up to `most` bytes of a stream into a packet; returns how many. */
  moveBytes(most: number, sink: PayloadSink): number {
    let moved = 0;
    for (let chunk = this.#chunks[this.#first]; chunk; chunk = this.#chunks[this.#first]) {
      if (moved === most && chunk.bytes.length > 0) break;
      moved += this.#move(chunk, most - moved, sink);
    }
    return moved;
  }

  /** Moves up to `most` bytes of the next message into a packet; returns how many. */
  moveFragment(most: number, sink: PayloadSink): number {
    const chunk = this.#chunks[this.#first];
    return chunk === undefined ? 0 : this.#move(chunk, most, sink);
  }

  /** The flags of a packet that carries `bytes` more of the next message. */
  fragmentFlags(bytes: number): number {
    const chunk = this.#chunks[this.#first];
    if (chunk === undefined || this.#offset + bytes < chunk.bytes.length) return 0;
    return MessageFlag.END_OF_MESSAGE | (chunk.endOfRecord ? MessageFlag.END_OF_RECORD : 0);
  }

  /** Tells those whose bytes have gone. Apart from moving, for they may send more or close. */
  settle(): void {
    if (this.#gone.length === 0) return;
    for (const sent of this.#gone.splice(0)) sent();
  }

  /** Throws everything away; nobody is told. */
  clear(): void {
    this.#chunks.length = 0;
    this.#first = 0;
    this.#offset = 0;
    this.#length = 0;
    this.#gone.length = 0;
  }

  #move(chunk: Chunk, most: number, sink: PayloadSink): number {
    const { bytes, sent } = chunk;
    const from = this.#offset;
    const moved = Math.min(bytes.length - from, most);
    if (moved > 0) sink.write(moved === bytes.length ? bytes : bytes.subarray(from, from + moved));
    this.#offset = from + moved;
    this.#length -= moved;
    if (this.#offset === bytes.length) {
      this.#shift();
      if (sent !== undefined) this.#gone.push(sent);
    }
    return moved;
  }

  #shift(): void {
    this.#offset = 0;
    this.#first += 1;
    if (this.#first === this.#chunks.length) {
      this.#chunks.length = 0;
      this.#first = 0;
    } else if (this.#first === TRIM) {
      this.#chunks.splice(0, TRIM);
      this.#first = 0;
    }
  }
}
