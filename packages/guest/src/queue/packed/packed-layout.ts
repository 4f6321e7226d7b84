import type { GuestMemoryArena } from '../../memory/guest-memory-arena.js';
import { DESCRIPTOR_BYTES } from '../descriptor-array.js';
import type { QueueAddresses } from '../driver-queue.js';

/** The largest packed queue (virtio 1.2, 2.8). */
export const MAX_PACKED_QUEUE_SIZE = 32768;

/** Descriptor flags that only the packed layout has; both follow the wrap counters. */
export const PACKED_AVAILABLE = 1 << 7;
export const PACKED_USED = 1 << 15;

/** Bytes of an event suppression area: offset and wrap u16, flags u16. */
export const EVENT_BYTES = 4;
/** What an area's flags ask for: a notification each time, none, or one at the offset. */
export const EVENT_ENABLE = 0;
export const EVENT_DISABLE = 1;
export const EVENT_DESCRIPTOR = 2;
/** The wrap counter's place, above an offset. */
export const WRAP_BIT = 1 << 15;

/**
 * The base of a packed ring before its first use: position 0 and wrap counter 1, for what is made
 * available (low half) and for what is used (high half), as vhost-user front-ends send it.
 */
export const INITIAL_PACKED_BASE = 0x8000_8000;

/** Allocates the three areas, each just as large and as aligned as the specification says. */
export function allocatePackedAreas(arena: GuestMemoryArena, size: number): QueueAddresses {
  return {
    descriptorTable: arena.allocate(DESCRIPTOR_BYTES * size, 16),
    availableRing: arena.allocate(EVENT_BYTES, 4),
    usedRing: arena.allocate(EVENT_BYTES, 4),
  };
}
