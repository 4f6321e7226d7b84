/** Bytes after which a turn ends (seed C8). */
export const TURN_BYTES = 0x80000;
/** Packets after which a turn ends, discarded ones included (seed C8, CVE-2019-3900). */
export const TURN_PACKETS = 256;
/** Descriptors after which a turn ends: empty ones cost time, but neither bytes nor packets (T34). */
export const TURN_DESCRIPTORS = 65536;

/** How much of a turn is left: bytes, packets and descriptors, whichever ends first. */
export class TurnBudget {
  #bytes = 0;
  #packets = 0;
  #walkedLimit = 0;

  /** A new turn. @param walked - the queue's count of descriptors read so far */
  begin(walked: number): void {
    this.#bytes = TURN_BYTES;
    this.#packets = TURN_PACKETS;
    this.#walkedLimit = walked + TURN_DESCRIPTORS;
  }

  /** Packets that may still be taken. */
  get packets(): number {
    return this.#packets;
  }

  /** Takes what was done off the budget. */
  spend(packets: number, bytes: number): void {
    this.#packets -= packets;
    this.#bytes -= bytes;
  }

  /** True when the turn must end. */
  isSpent(walked: number): boolean {
    return this.#packets <= 0 || this.#bytes <= 0 || walked >= this.#walkedLimit;
  }
}
