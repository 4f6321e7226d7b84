/**
 * Bytes that we can reach: a shared-memory file mapped by `@rxvhost/sys`, or a plain `ArrayBuffer`.
 *
 * A mapping is seen through *windows*: `ArrayBuffer`s of at most 1 GiB that begin every 512 MiB and
 * so overlap. Node 20 holds at most 4 GiB in one buffer, offsets below 2^30 stay small integers
 * (which V8 keeps fast), and because windows overlap, any range of up to 512 MiB, every ring among
 * them, lies whole in at least one window.
 */
import type { Observable } from 'rxjs';

/** Bytes from one window's beginning to the next one's: 512 MiB. */
export const WINDOW_STRIDE = 512 * 1024 * 1024;
/** The most bytes in one window: 1 GiB. */
export const WINDOW_SIZE = 1024 * 1024 * 1024;

/** Some bytes, seen through windows, with one owner that releases them. */
export interface MemoryMapping {
  /** Bytes in the mapping, below 2^53. */
  readonly size: number;
  /** Window `k` covers bytes `k * WINDOW_STRIDE` up to at most `WINDOW_SIZE` more. */
  readonly windows: readonly ArrayBuffer[];
  /** Host address of the first byte for native code; 0 for memory that native code cannot reach. */
  readonly address: number;
  /**
   * Emits once, and completes, when bytes of the mapping turn out to be gone: the file behind it was
   * truncated (hazard T20). At once on subscription if that is known already. The windows stay as
   * they are and read as zeroes from the first missing page on. Absent where it cannot happen.
   */
  readonly broken$?: Observable<void>;
  /** Detaches every window, then unmaps, once; later calls do nothing. */
  release(): void;
}

/** The same bytes for somebody who may release what he is given, while they stay the owner's. */
export function lendMapping(mapping: MemoryMapping): MemoryMapping {
  const { size, windows, address, broken$ } = mapping;
  return { size, windows, address, ...(broken$ && { broken$ }), release() {} };
}

/** How many windows a mapping of `size` bytes has. */
export function windowCount(size: number): number {
  return size <= WINDOW_SIZE ? 1 : Math.ceil((size - WINDOW_SIZE) / WINDOW_STRIDE) + 1;
}

/** Bytes in window `index` of a mapping of `size` bytes. */
export function windowLength(size: number, index: number): number {
  return Math.min(WINDOW_SIZE, size - index * WINDOW_STRIDE);
}

/** Plain JavaScript memory as a mapping: for tests, in-process devices, browsers. */
export class ArrayBufferMapping implements MemoryMapping {
  readonly size: number;
  readonly windows: readonly ArrayBuffer[];
  readonly address = 0;

  /** @param buffer - at most 1 GiB; one whole window */
  constructor(buffer: ArrayBuffer) {
    if (buffer.byteLength > WINDOW_SIZE) {
      throw new RangeError(`one ArrayBuffer of ${buffer.byteLength} bytes is over 1 GiB`);
    }
    this.size = buffer.byteLength;
    this.windows = [buffer];
  }

  release(): void {}
}
