import { VhostError } from '@rxvhost/core';
import { MAX_PAYLOAD } from '../protocol/limits.js';
import type { PacketHeader } from '../protocol/packet-header.js';

/** The largest buffer: differences of counts must stay below 2^31. */
export const MAX_BUFFER_SIZE = 2 ** 30;

/**
 * What the peer may send: our buffer, and what we have told the peer of it. A peer is held to the
 * furthest promise ever made, since a smaller one may reach it when bytes are already under way.
 */
export class ReceiveCredit {
  #allocation: number;
  /** Bytes taken out of the buffer. */
  #forwarded: number;
  /** Bytes that came in. */
  #received: number;
  /** `#forwarded` as the peer was told last. */
  #told: number;
  #toldAllocation: number;
  /** The count of received bytes up to which the peer has been allowed to send. */
  #promised: number;

  /** Throws `EINVAL` for a buffer of no bytes or over 1 GiB. */
  constructor(allocation: number, start = 0) {
    this.#allocation = checkBufferSize(allocation);
    this.#forwarded = start;
    this.#received = start;
    this.#told = start;
    this.#toldAllocation = allocation;
    this.#promised = (start + allocation) >>> 0;
  }

  /** Bytes of the buffer. */
  get allocation(): number {
    return this.#allocation;
  }

  /** Changes the size of the buffer; what is in it stays. Throws `EINVAL`. */
  setAllocation(bytes: number): void {
    this.#allocation = checkBufferSize(bytes);
  }

  /** Counts bytes that came. False when the peer was never allowed to send as many. */
  receive(bytes: number): boolean {
    if (bytes > this.peerRoom) return false;
    this.#received = (this.#received + bytes) >>> 0;
    return true;
  }

  /** Counts bytes as taken out of the buffer. */
  forward(bytes: number): void {
    this.#forwarded = (this.#forwarded + bytes) >>> 0;
  }

  /** The most bytes that the peer may still send. */
  get peerRoom(): number {
    return (this.#promised - this.#received) >>> 0;
  }

  /** Little of the buffer is free, or less than nothing after it was made smaller. */
  get nearlyFull(): boolean {
    const free = this.#allocation - ((this.#received - this.#forwarded) >>> 0);
    return free < this.#little;
  }

  /**
   * The peer should be told before it stalls: a good part of the buffer has become free since it was
   * told last, or any of it and the peer knows of little, or the buffer's size has changed.
   */
  get worthTelling(): boolean {
    if (this.#allocation !== this.#toldAllocation) return true;
    const untold = (this.#forwarded - this.#told) >>> 0;
    if (untold === 0) return false;
    const known = this.#toldAllocation - ((this.#received - this.#told) >>> 0);
    return untold >= this.#allocation >>> 2 || known < this.#little;
  }

  /** Writes the two fields that every packet carries; the peer is told with that. */
  tell(header: PacketHeader): void {
    header.bufferAllocation = this.#allocation;
    header.forwardedCount = this.#forwarded;
    this.#told = this.#forwarded;
    this.#toldAllocation = this.#allocation;
    const promise = (this.#forwarded + this.#allocation) >>> 0;
    if (((promise - this.#promised) | 0) > 0) this.#promised = promise;
  }

  get #little(): number {
    return Math.max(1, Math.min(MAX_PAYLOAD, this.#allocation >>> 1));
  }
}

function checkBufferSize(bytes: number): number {
  if (Number.isInteger(bytes) && bytes > 0 && bytes <= MAX_BUFFER_SIZE) return bytes;
  throw new VhostError('EINVAL', `a vsock buffer of ${bytes} bytes, 1 to ${MAX_BUFFER_SIZE} fit`);
}
