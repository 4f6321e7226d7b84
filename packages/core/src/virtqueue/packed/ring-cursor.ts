import { packPosition, positionOf, wrapOf } from './packed-layout.js';

/** A place in a packed ring, and the wrap counter of the round that it is in. */
export class RingCursor {
  position: number;
  wrap: 0 | 1;

  /**
   * @param start - as half a base
   * @param size - entries of the ring
   */
  constructor(
    start: number,
    private readonly size: number,
  ) {
    this.position = positionOf(start);
    this.wrap = wrapOf(start);
  }

  /** The place as half a base, or as an event's offset. */
  get packed(): number {
    return packPosition(this.position, this.wrap);
  }

  /** Goes there. */
  set(other: RingCursor): void {
    this.position = other.position;
    this.wrap = other.wrap;
  }

  /** On, or back, by at most a whole round. */
  move(descriptors: number): void {
    this.position += descriptors;
    if (this.position >= this.size) this.position -= this.size;
    else if (this.position < 0) this.position += this.size;
    else return;
    this.wrap = this.wrap === 1 ? 0 : 1;
  }
}
