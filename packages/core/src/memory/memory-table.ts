import { VhostError } from '../errors/vhost-error.js';
import { WINDOW_STRIDE } from './mapping.js';
import { checkRegion, type MemoryRegion, regionWindow } from './memory-region.js';
import type { SegmentList } from './segment-list.js';
import type { Translator } from './translator.js';
import { type TableWindow, WindowTable, windowsOf } from './window-table.js';

/** A range of guest memory that lies whole in one window. */
export interface WindowRange {
  readonly window: number;
  readonly offset: number;
}

/**
 * All regions of guest memory at one moment: an immutable snapshot. A change of memory is a new
 * table in one step, so whoever walks a chain sees the old one whole or the new one whole, and the
 * old one's mappings go when its last holder releases it (seed A5).
 */
export class MemoryTable implements Translator {
  /** The regions in order of guest address. */
  readonly regions: readonly MemoryRegion[];
  /** Every window of every region. */
  readonly windows: WindowTable;
  /** A table never changes, and whatever is in it may be read and written. */
  readonly generation = 0;
  readonly missed = 0;

  readonly #firstWindow: readonly number[];
  readonly #onLastRelease: (table: MemoryTable) => void;
  #holders = 1;

  /**
   * @param regions - in any order
   * @param onLastRelease - called when the last holder has released the table
   *
   * Throws `EINVAL` for a region that fails {@link checkRegion} and for regions whose guest
   * ranges overlap; the mappings are then still the caller's.
   */
  constructor(regions: readonly MemoryRegion[], onLastRelease: (table: MemoryTable) => void) {
    for (const region of regions) checkRegion(region);
    this.regions = [...regions].sort((a, b) => a.guestAddress - b.guestAddress);
    checkOverlap(this.regions);
    const windows: TableWindow[] = [];
    const firstWindow: number[] = [];
    for (const { mapping, guestAddress, mappingOffset = 0 } of this.regions) {
      firstWindow.push(windows.length);
      windows.push(...windowsOf(mapping, WINDOW_STRIDE, guestAddress - mappingOffset));
    }
    this.#firstWindow = firstWindow;
    this.windows = new WindowTable(windows);
    this.#onLastRelease = onLastRelease;
  }

  /** Keeps the table's mappings for one more holder: frames in flight, for example. */
  retain(): this {
    this.#holders += 1;
    return this;
  }

  /** Ends one holder's use; the last one's end gives the mappings back. */
  release(): void {
    this.#holders -= 1;
    if (this.#holders === 0) this.#onLastRelease(this);
  }

  /**
   * Appends the pieces of `[address, address + length)` in guest-physical addresses. A range may
   * span windows, and regions that are neighbours in guest addresses only (T21). Zero bytes append
   * nothing and are always accessible.
   * @returns `'ok'`; `'fault'` when a byte of the range is in no region; `'full'` when the list is
   */
  translate(address: number, length: number, segments: SegmentList): 'ok' | 'fault' | 'full' {
    const rollback = segments.count;
    let from = address;
    let left = length;
    while (left > 0) {
      const index = this.#regionAt(from);
      if (index < 0) {
        segments.count = rollback;
        return 'fault';
      }
      const region = this.#region(index);
      const inRegion = from - region.guestAddress;
      const seen = regionWindow(region, inRegion);
      const bytes = Math.min(left, seen.end - inRegion);
      const offset = seen.offset + (inRegion - seen.start);
      if (!segments.push(this.#windowNumber(index, seen.index), offset, bytes)) {
        segments.count = rollback;
        return 'full';
      }
      from += bytes;
      left -= bytes;
    }
    return 'ok';
  }

  /**
   * Where `[address, address + length)` in the front-end's user addresses lies, whole in one window.
   * Undefined when it is not in one region. Rings are found this way.
   */
  findUserRange(address: number, length: number): WindowRange | undefined {
    for (const [index, region] of this.regions.entries()) {
      const offset = address - region.userAddress;
      if (offset < 0 || offset >= region.size) continue;
      if (offset + length > region.size) return undefined;
      const seen = regionWindow(region, offset);
      if (offset + length > seen.end) return undefined;
      return {
        window: this.#windowNumber(index, seen.index),
        offset: seen.offset + (offset - seen.start),
      };
    }
    return undefined;
  }

  /**
   * The widest stretch of guest addresses around `address` that one window shows: what the ring
   * walker remembers, so that the next address costs two comparisons. Undefined outside memory.
   */
  stretchAt(address: number): WindowStretch | undefined {
    const index = this.#regionAt(address);
    if (index < 0) return undefined;
    const { guestAddress } = this.#region(index);
    return this.#stretch(index, address - guestAddress, guestAddress);
  }

  /** As {@link stretchAt}, in the front-end's user addresses. */
  userStretchAt(address: number): WindowStretch | undefined {
    const index = this.regions.findIndex(
      ({ userAddress, size }) => address >= userAddress && address < userAddress + size,
    );
    if (index < 0) return undefined;
    const { userAddress } = this.#region(index);
    return this.#stretch(index, address - userAddress, userAddress);
  }

  findRing(address: number, length: number): WindowRange | 'fault' {
    return this.findUserRange(address, length) ?? 'fault';
  }

  #stretch(index: number, inRegion: number, base: number): WindowStretch {
    const seen = regionWindow(this.#region(index), inRegion);
    return {
      start: base + seen.start,
      end: base + seen.end,
      window: this.#windowNumber(index, seen.index),
      offset: seen.offset,
    };
  }

  #windowNumber(region: number, window: number): number {
    return (this.#firstWindow[region] as number) + window;
  }

  #regionAt(address: number): number {
    let low = 0;
    let high = this.regions.length - 1;
    while (low <= high) {
      const middle = (low + high) >>> 1;
      const { guestAddress, size } = this.#region(middle);
      if (address < guestAddress) high = middle - 1;
      else if (address >= guestAddress + size) low = middle + 1;
      else return middle;
    }
    return -1;
  }

  #region(index: number): MemoryRegion {
    return this.regions[index] as MemoryRegion;
  }
}

/** Guest addresses `start … end - 1` are window `window` from byte `offset` on. */
export interface WindowStretch {
  readonly start: number;
  readonly end: number;
  readonly window: number;
  readonly offset: number;
}

/** User ranges may overlap: a VMM can show the guest the same memory in two places. */
function checkOverlap(sorted: readonly MemoryRegion[]): void {
  for (const [index, region] of sorted.entries()) {
    const next = sorted[index + 1];
    if (next !== undefined && region.guestAddress + region.size > next.guestAddress) {
      throw new VhostError(
        'EINVAL',
        `memory regions overlap at guest address 0x${next.guestAddress.toString(16)}`,
      );
    }
  }
}
