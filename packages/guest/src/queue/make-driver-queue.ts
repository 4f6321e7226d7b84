import type { GuestMemoryArena } from '../memory/guest-memory-arena.js';
import { NetFeature } from '../net/net-features.js';
import type { DriverQueue } from './driver-queue.js';
import { PackedDriverQueue } from './packed/packed-driver-queue.js';
import { SplitDriverQueue } from './split/split-driver-queue.js';

/**
 * Makes a queue as the negotiated features want it: packed or split, in order or not.
 * @param indirectEntries - descriptors in each indirect table, where INDIRECT_DESC was negotiated
 *
 * Throws what the queue's constructor throws.
 */
export function makeDriverQueue(
  arena: GuestMemoryArena,
  size: number,
  features: bigint,
  indirectEntries = 8,
): DriverQueue {
  const has = (feature: bigint) => (features & feature) !== 0n;
  const options = {
    eventIndex: has(NetFeature.EVENT_IDX),
    inOrder: has(NetFeature.IN_ORDER),
    indirectEntries: has(NetFeature.INDIRECT_DESC) ? indirectEntries : 0,
  };
  return has(NetFeature.RING_PACKED)
    ? new PackedDriverQueue(arena, size, options)
    : new SplitDriverQueue(arena, size, options);
}
