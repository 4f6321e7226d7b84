/** A place in a packed ring, and the wrap counter of the round that it is in. */
export class RingPosition {
  index = 0;
  wrap: 0 | 1 = 1;

  /** @param size - entries of the ring */
  constructor(readonly size: number) {}

  /** To the first entry of the first round. */
  reset(): void {
    this.index = 0;
    this.wrap = 1;
  }

  /** To another place in the same ring. */
  set(other: RingPosition): void {
    this.index = other.index;
    this.wrap = other.wrap;
  }

  /** On by at most a whole round. */
  move(entries: number): void {
    this.index += entries;
    if (this.index < this.size) return;
    this.index -= this.size;
    this.wrap = this.wrap === 1 ? 0 : 1;
  }
}
