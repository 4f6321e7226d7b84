import type { DirtyLog } from '../memory/dirty-log.js';
import { usedRingBytes } from './split/split-layout.js';

/** Where a virtqueue notes what it writes to guest memory (seed B8). */
export interface VirtqueueLog {
  /** For buffers that are written; undefined while LOG_ALL is not negotiated. */
  readonly buffers: DirtyLog | undefined;
  /** For the used ring; undefined while the ring's log flag is not set. */
  readonly usedRing: DirtyLog | undefined;
  /**
   * Guest-physical address that the used ring is logged at; it need not be in the memory table.
   * Undefined: where the ring lies, which behind an IOMMU only its translation tells.
   */
  readonly usedRingAddress: number | undefined;
}

/** Nothing is logged. */
export const NO_LOG: VirtqueueLog = {
  buffers: undefined,
  usedRing: undefined,
  usedRingAddress: undefined,
};

/** Logs the writes to one split used ring, by the field that was written. */
export class UsedRingLog {
  readonly #mask: number;

  /**
   * @param address - guest-physical address of the ring
   * @param size - entries, a power of two
   */
  constructor(
    private readonly log: DirtyLog,
    private readonly address: number,
    private readonly size: number,
  ) {
    this.#mask = size - 1;
  }

  flags(): void {
    this.log.mark(this.address, 2);
    this.log.event?.signal();
  }

  index(): void {
    this.log.mark(this.address + 2, 2);
    this.log.event?.signal();
  }

  /** Entries `next … next + count - 1`, which may wrap around the end. */
  entries(next: number, count: number): void {
    const first = next & this.#mask;
    const before = Math.min(count, this.size - first);
    this.log.mark(this.address + 4 + 8 * first, 8 * before);
    this.log.mark(this.address + 4, 8 * (count - before));
  }

  availableEvent(): void {
    this.log.mark(this.address + usedRingBytes(this.size) - 2, 2);
    this.log.event?.signal();
  }
}
