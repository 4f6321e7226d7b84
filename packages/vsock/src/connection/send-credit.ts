/**
 * What we may send: the peer's buffer as it tells of it. All counts are modulo 2^32 and begin at the
 * same value on both sides.
 */
export class SendCredit {
  /** Bytes of the peer's buffer, as it said last. */
  #allocation = 0;
  /** Bytes that the peer has taken out of it. */
  #forwarded: number;
  /** Bytes that we have sent. */
  #sent: number;

  constructor(start = 0) {
    this.#forwarded = start;
    this.#sent = start;
  }

  /** Bytes of the peer's buffer. */
  get allocation(): number {
    return this.#allocation;
  }

  /** Bytes that may be sent now: none where the peer has shrunk its buffer below what is under way. */
  get room(): number {
    return Math.max(0, this.#allocation - this.#underWay);
  }

  /** Counts bytes as sent. */
  spend(bytes: number): void {
    this.#sent = (this.#sent + bytes) >>> 0;
  }

  /**
   * Takes note of what a header says.
   * @returns false where it claims to have taken out what was never sent, or takes back what it
   * claimed before: such a count is ignored, the last good one stands (hazard T71)
   */
  update(allocation: number, forwarded: number): boolean {
    this.#allocation = allocation;
    if ((forwarded - this.#forwarded) >>> 0 > this.#underWay) return false;
    this.#forwarded = forwarded;
    return true;
  }

  get #underWay(): number {
    return (this.#sent - this.#forwarded) >>> 0;
  }
}
