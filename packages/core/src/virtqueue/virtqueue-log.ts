import type { DirtyLog } from '../memory/dirty-log.js';

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
