import type { GuestMemoryArena } from '../../memory/guest-memory-arena.js';
import { DESCRIPTOR_BYTES } from '../descriptor-array.js';
import type { QueueAddresses } from '../driver-queue.js';

/** The largest split queue (virtio 1.2, 2.7). */
export const MAX_SPLIT_QUEUE_SIZE = 32768;

/** Flag of the available ring: the driver wants no calls. */
export const AVAILABLE_NO_INTERRUPT = 1;
/** Flag of the used ring: the device wants no kicks. */
export const USED_NO_NOTIFY = 1;

/** Bytes of each area of a split queue of `size` entries, the two event words included. */
export function splitAreaSizes(size: number) {
  return {
    descriptorTable: DESCRIPTOR_BYTES * size,
    availableRing: 6 + 2 * size,
    usedRing: 6 + 8 * size,
  };
}

/**
 * Allocates the three areas, each exactly as large as the specification says and aligned to just
 * 16, 2 and 4 bytes, so that a device which reads too far or asks for more alignment shows.
 */
export function allocateSplitAreas(arena: GuestMemoryArena, size: number): QueueAddresses {
  const bytes = splitAreaSizes(size);
  return {
    descriptorTable: arena.allocate(bytes.descriptorTable, 16),
    availableRing: arena.allocate(bytes.availableRing, 2),
    usedRing: arena.allocate(bytes.usedRing, 4),
  };
}
