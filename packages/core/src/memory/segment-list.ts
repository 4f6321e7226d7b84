import type { WindowTable } from './window-table.js';

/**
 * Pieces of guest memory as three typed arrays: which window, where in it, how many bytes. Native
 * code reads the arrays as they are, so a batch of frames crosses into it without a single object.
 */
export class SegmentList {
  readonly window: Uint32Array;
  readonly offset: Uint32Array;
  readonly length: Uint32Array;
  /** Segments in use. */
  count = 0;

  /**
   * @param capacity - the most segments the list can hold
   * @param words - room for the three arrays, one after the other; its own when left out
   */
  constructor(
    readonly capacity: number,
    words: Uint32Array = new Uint32Array(3 * capacity),
  ) {
    this.window = words.subarray(0, capacity);
    this.offset = words.subarray(capacity, 2 * capacity);
    this.length = words.subarray(2 * capacity, 3 * capacity);
  }

  /** Appends one segment. False, and nothing appended, when the list is full. */
  push(window: number, offset: number, length: number): boolean {
    const at = this.count;
    if (at >= this.capacity) return false;
    this.window[at] = window;
    this.offset[at] = offset;
    this.length[at] = length;
    this.count = at + 1;
    return true;
  }

  /** The bytes of segment `index` as a view: for control paths and tests, it allocates. */
  bytes(index: number, windows: WindowTable): Uint8Array {
    const offset = this.offset[index] as number;
    return windows
      .bytes(this.window[index] as number)
      .subarray(offset, offset + (this.length[index] as number));
  }
}
