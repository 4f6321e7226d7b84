import type { Translator } from '../../memory/translator.js';
import type { WindowTable } from '../../memory/window-table.js';
import type { DescriptorRing } from '../chain-walker.js';
import { findArea } from '../ring-area.js';
import type { RingAddresses } from '../virtqueue.js';
import { availableRingBytes, descriptorTableBytes, usedRingBytes } from './split-layout.js';

/**
 * A split ring's three areas, found in memory: typed arrays over whole windows, and where in them
 * each field stands. Made anew when the memory table or the addresses change.
 */
export class SplitRing implements DescriptorRing {
  readonly packed = false;
  readonly windows: WindowTable;
  /** The window of the descriptor table, and the table's first byte in it. */
  readonly descriptorWindow: number;
  readonly descriptorOffset: number;
  /** 32-bit words of that window. */
  readonly descriptorWords: Int32Array;
  /** 16-bit words of the available ring's window; index of its flags; of its `used_event`. */
  readonly available: Uint16Array;
  readonly availableFlags: number;
  readonly usedEvent: number;
  /** 16-bit words of the used ring's window; index of its flags; of its `avail_event`. */
  readonly used: Uint16Array;
  readonly usedFlags: number;
  readonly availableEvent: number;
  /** 32-bit words of the used ring's window, and the index of its first entry. */
  readonly usedWords: Int32Array;
  readonly usedEntries: number;
  /** Guest-physical address of the used ring. */
  readonly usedGuestAddress: number;

  /**
   * @param table - guest memory; the ring does not keep it alive
   * @param addresses - in the front-end's address space, or behind an IOMMU in the driver's
   * @param size - entries, a power of two
   *
   * Throws `EFAULT` when an area is not whole in one region, `EINVAL` when the available ring does
   * not lie at an even byte or the used ring not at a multiple of four (seed A9); behind an IOMMU
   * also an `IotlbMiss`, and `EPERM` for an area that may not be accessed.
   */
  constructor(
    readonly table: Translator,
    addresses: RingAddresses,
    readonly size: number,
  ) {
    const area = (name: string, address: number, bytes: number, alignment: number, write = false) =>
      findArea(table, name, address, { bytes, alignment, write });
    const { descriptorTable, availableRing, usedRing } = addresses;
    const descriptors = area('descriptor table', descriptorTable, descriptorTableBytes(size), 1);
    const available = area('available ring', availableRing, availableRingBytes(size), 2);
    const used = area('used ring', usedRing, usedRingBytes(size), 4, true);
    this.windows = table.windows;
    this.descriptorWindow = descriptors.window;
    this.descriptorOffset = descriptors.offset;
    this.descriptorWords = this.windows.words(descriptors.window);
    this.available = this.windows.halves(available.window);
    this.availableFlags = available.offset >>> 1;
    this.usedEvent = this.availableFlags + 2 + size;
    this.used = this.windows.halves(used.window);
    this.usedFlags = used.offset >>> 1;
    this.availableEvent = this.usedFlags + 2 + 4 * size;
    this.usedWords = this.windows.words(used.window);
    this.usedEntries = (used.offset >>> 2) + 1;
    this.usedGuestAddress = (this.windows.guestBase[used.window] as number) + used.offset;
  }

  /** The available index, read so that entries before it are seen whole (acquire). */
  loadAvailableIndex(): number {
    return Atomics.load(this.available, this.availableFlags + 1);
  }

  /** The used index as it stands in memory. */
  loadUsedIndex(): number {
    return Atomics.load(this.used, this.usedFlags + 1);
  }
}
