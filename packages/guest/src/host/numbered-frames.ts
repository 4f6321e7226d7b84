import { VhostError } from '@rxvhost/core';
import { crc32 } from './checksum.js';
import { ETHERNET_HEADER_LENGTH, EtherType } from './ethernet.js';

/** Bytes of the shortest numbered frame. */
export const NUMBERED_FRAME_MIN_LENGTH = 26;

const SEQUENCE_AT = ETHERNET_HEADER_LENGTH;
const LENGTH_AT = SEQUENCE_AT + 4;
const CHECKSUM_AT = LENGTH_AT + 4;

/**
 * Makes frames that tell on whoever loses, doubles, reorders, cuts or changes one: each carries its
 * number, its length, bytes that follow from both, and a CRC-32 over everything.
 */
export class NumberedFrames {
  #next = 0;

  constructor(
    readonly destination: Uint8Array,
    readonly source: Uint8Array,
  ) {}

  /** The number of the next frame. */
  get next(): number {
    return this.#next;
  }

  /** The next frame, `length` bytes long. Throws `EMSGSIZE` below 26 or above 65535 bytes. */
  make(length: number): Uint8Array {
    if (length < NUMBERED_FRAME_MIN_LENGTH || length > 0xffff) {
      throw new VhostError('EMSGSIZE', `numbered frame: ${length} bytes, 26 to 65535 fit`);
    }
    const frame = new Uint8Array(length);
    const view = new DataView(frame.buffer);
    frame.set(this.destination, 0);
    frame.set(this.source, 6);
    view.setUint16(12, EtherType.EXPERIMENT);
    view.setUint32(SEQUENCE_AT, this.#next);
    view.setUint16(LENGTH_AT, length);
    let word = (this.#next * 2654435761 + length) >>> 0;
    for (let at = NUMBERED_FRAME_MIN_LENGTH; at < length; at += 2) {
      word = Math.imul(word, 1664525) + 1013904223;
      frame[at] = word >>> 24;
      // One past the end of an odd frame: a typed array lets that fall.
      frame[at + 1] = word >>> 16;
    }
    view.setUint32(CHECKSUM_AT, crc32(frame));
    this.#next += 1;
    return frame;
  }
}

/** Looks at numbered frames as they arrive and counts what is wrong with them. */
export class NumberedFrameChecker {
  /** Frames with the right checksum and the number that was due. */
  intact = 0;
  /** Bytes of those frames. */
  bytes = 0;
  /** Frames whose length or checksum is wrong. */
  damaged = 0;
  /** Numbers that were passed over. */
  missing = 0;
  /** Frames whose number had been passed already: late or doubled. */
  outOfOrder = 0;
  #due = 0;
  #scratch = new Uint8Array(2048);

  /** True while every frame came intact and in order. */
  get flawless(): boolean {
    return this.damaged === 0 && this.missing === 0 && this.outOfOrder === 0;
  }

  /** Takes a frame. False when it is no numbered frame at all. */
  receive(frame: Uint8Array): boolean {
    if (frame.length < NUMBERED_FRAME_MIN_LENGTH) return false;
    const view = new DataView(frame.buffer, frame.byteOffset, frame.length);
    if (view.getUint16(12) !== EtherType.EXPERIMENT) return false;
    const sequence = view.getUint32(SEQUENCE_AT);
    if (view.getUint16(LENGTH_AT) !== frame.length || !this.#checksumHolds(frame)) {
      this.damaged += 1;
    } else if (sequence < this.#due) {
      this.outOfOrder += 1;
    } else {
      this.missing += sequence - this.#due;
      this.#due = sequence + 1;
      this.intact += 1;
      this.bytes += frame.length;
    }
    return true;
  }

  /** Works on a copy: the frame may lie in memory that is not ours to write. */
  #checksumHolds(frame: Uint8Array): boolean {
    if (this.#scratch.length < frame.length) this.#scratch = new Uint8Array(frame.length);
    const copy = this.#scratch.subarray(0, frame.length);
    copy.set(frame);
    const view = new DataView(copy.buffer, copy.byteOffset, copy.length);
    const checksum = view.getUint32(CHECKSUM_AT);
    view.setUint32(CHECKSUM_AT, 0);
    return crc32(copy) === checksum;
  }
}
