import type { Translator } from '../../memory/translator.js';
import type { WindowTable } from '../../memory/window-table.js';
import type { DescriptorRing } from '../chain-walker.js';
import { DESCRIPTOR_SIZE } from '../descriptor.js';
import { findArea } from '../ring-area.js';
import type { RingAddresses } from '../virtqueue.js';
import { EVENT_BYTES, PACKED_AVAILABLE, PACKED_USED } from './packed-layout.js';
import type { RingCursor } from './ring-cursor.js';

/** The flags that say whose turn a descriptor is, in its last word. */
const TURN = (PACKED_AVAILABLE | PACKED_USED) << 16;

/**
 * A packed ring's three areas, found in memory: 32-bit words over whole windows, and where in them
 * each area begins. Made anew when the memory table or the addresses change.
 */
export class PackedRing implements DescriptorRing {
  readonly packed = true;
  readonly windows: WindowTable;
  readonly descriptorWindow: number;
  readonly descriptorOffset: number;
  /** Words of the descriptors' window, and the index of the first descriptor's first word. */
  readonly words: Int32Array;
  readonly first: number;
  /** Guest-physical addresses of what the device writes: descriptors, and its event area. */
  readonly guestAddress: number;
  readonly eventGuestAddress: number;

  readonly #driverWords: Int32Array;
  readonly #driverEvent: number;
  readonly #deviceWords: Int32Array;
  readonly #deviceEvent: number;
  /** A word of our own to put a full barrier on. */
  readonly #barrier = new Int32Array(1);

  /**
   * @param table - guest memory; the ring does not keep it alive
   * @param addresses - as {@link SplitRing} takes them
   * @param size - entries
   *
   * Throws as {@link SplitRing}; the descriptors must lie at a multiple of 16, the events of 4.
   */
  constructor(
    readonly table: Translator,
    { descriptorTable, availableRing, usedRing }: RingAddresses,
    readonly size: number,
  ) {
    const bytes = DESCRIPTOR_SIZE * size;
    const ring = findArea(table, 'descriptor ring', descriptorTable, {
      bytes,
      alignment: 16,
      write: true,
    });
    const event = { bytes: EVENT_BYTES, alignment: 4 };
    const driver = findArea(table, 'driver event area', availableRing, { ...event, write: false });
    const device = findArea(table, 'device event area', usedRing, { ...event, write: true });
    this.windows = table.windows;
    this.descriptorWindow = ring.window;
    this.descriptorOffset = ring.offset;
    this.words = this.windows.words(ring.window);
    this.first = ring.offset >>> 2;
    this.#driverWords = this.windows.words(driver.window);
    this.#driverEvent = driver.offset >>> 2;
    this.#deviceWords = this.windows.words(device.window);
    this.#deviceEvent = device.offset >>> 2;
    const { guestBase } = this.windows;
    this.guestAddress = (guestBase[ring.window] as number) + ring.offset;
    this.eventGuestAddress = (guestBase[device.window] as number) + device.offset;
  }

  /** The word that says when the driver wants a call. */
  loadDriverEvent(): number {
    return Atomics.load(this.#driverWords, this.#driverEvent);
  }

  /** The word that says when we want a kick, as we wrote it or as the driver made it. */
  get deviceEvent(): number {
    return this.#deviceWords[this.#deviceEvent] as number;
  }

  /** Says when we want a kick; a full barrier. */
  storeDeviceEvent(word: number): void {
    Atomics.store(this.#deviceWords, this.#deviceEvent, word);
  }

  /**
   * Descriptors that are available from a place up to the ring's end, at most `most`: they may be read
   * afterwards. All of them are looked at before a full barrier, which costs less than one for each.
   */
  available({ position, wrap }: RingCursor, most: number): number {
    const { words } = this;
    const turn = (wrap === 1 ? PACKED_AVAILABLE : PACKED_USED) << 16;
    const begin = (this.first + 4 * position + 3) | 0;
    const end = (begin + 4 * Math.min(most, this.size - position)) | 0;
    let at = begin;
    // Four in one round of the loop, which is most of the cost.
    for (; at < end - 12; at = (at + 16) | 0) {
      const one = (words[at] as number) ^ turn;
      const two = (words[(at + 4) | 0] as number) ^ turn;
      const three = (words[(at + 8) | 0] as number) ^ turn;
      const four = (words[(at + 12) | 0] as number) ^ turn;
      if (((one | two | three | four) & TURN) !== 0) break;
    }
    while (at < end && (((words[at] as number) ^ turn) & TURN) === 0) at = (at + 4) | 0;
    const count = (at - begin) >>> 2;
    if (count > 0) Atomics.add(this.#barrier, 0, 1);
    return count;
  }
}
