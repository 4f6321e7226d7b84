import type { EventPort } from '../events/event-port.js';
import type { PacketBatch } from '../virtqueue/packet-batch.js';
import { type MemoryMapping, WINDOW_STRIDE } from './mapping.js';

/**
 * The dirty log of live migration (seed B8). While a VMM copies a guest's memory elsewhere, the
 * guest runs on and so do its devices; the VMM has to know which pages to copy again. The log is a
 * bitmap in memory that it shares with us: bit `page % 8` of byte `page / 8` says that guest page
 * `page` (4 KiB, by guest-physical address) was written. The VMM reads and clears bits while we set
 * them, so every bit is set by an atomic or, after the bytes are written and before the driver is
 * told of them: whoever sees the bit sees the bytes.
 *
 * The bit is set even where it seems to be set already. To look first and skip the write would let
 * the processor look before our bytes have reached memory: a VMM that clears the bit in between
 * would copy the old page and never come back.
 */

/** Bytes that one bit of the log stands for. */
export const LOG_PAGE = 4096;
const PAGES_PER_BYTE = 8;

/** A log in shared memory; owns its mapping. */
export class DirtyLog {
  /** Raised after writes were logged (SET_LOG_FD); the device's, not the log's, to close. */
  event: EventPort | undefined;

  #size: number;
  readonly #windows: readonly Uint8Array[];

  /**
   * @param mapping - the shared memory; the log owns it
   * @param offset - where in it the log begins, in bytes; the log goes on to the mapping's end
   */
  constructor(
    private readonly mapping: MemoryMapping,
    private readonly offset = 0,
  ) {
    this.#size = Math.max(0, mapping.size - offset);
    this.#windows = mapping.windows.map((window) => new Uint8Array(window));
  }

  /** Bytes of the log: it speaks of this many times 32 KiB of guest memory. */
  get size(): number {
    return this.#size;
  }

  /** Whether the log has a bit for every byte of `[address, address + length)`. */
  covers(address: number, length: number): boolean {
    return address >= 0 && address + length <= this.#size * PAGES_PER_BYTE * LOG_PAGE;
  }

  /** Marks the pages of `length` bytes written at a guest-physical address. */
  mark(address: number, length: number): void {
    if (length <= 0) return;
    const end = Math.floor((address + length - 1) / LOG_PAGE);
    for (let page = Math.floor(address / LOG_PAGE); page <= end; page += 1) this.#markPage(page);
  }

  /** Marks what the frames of a received batch wrote: of each, its bytes and what comes before. */
  markFrames(batch: PacketBatch): void {
    const { firstSegment, frameChains, frameLengths, segments, skip } = batch;
    const { guestBase } = batch.windows;
    let chain = 0;
    for (let frame = 0; frame < batch.frameCount; frame += 1) {
      const end = chain + (frameChains[frame] as number);
      let left = (frameLengths[frame] as number) + skip;
      const last = firstSegment[end] as number;
      for (let s = firstSegment[chain] as number; s < last && left > 0; s += 1) {
        const written = Math.min(left, segments.length[s] as number);
        const base = guestBase[segments.window[s] as number] as number;
        this.mark(base + (segments.offset[s] as number), written);
        left -= written;
      }
      chain = end;
    }
    if (batch.frameCount > 0) this.event?.signal();
  }

  /** Releases the mapping; what is marked from here on is lost. */
  release(): void {
    this.#size = 0;
    this.mapping.release();
  }

  #markPage(page: number): void {
    const byte = Math.floor(page / PAGES_PER_BYTE);
    if (byte < 0 || byte >= this.#size) return;
    const at = this.offset + byte;
    const window = Math.min(Math.floor(at / WINDOW_STRIDE), this.#windows.length - 1);
    const bytes = this.#windows[window] as Uint8Array;
    Atomics.or(bytes, at - window * WINDOW_STRIDE, 1 << (page % PAGES_PER_BYTE));
  }
}
