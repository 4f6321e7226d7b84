import { VhostError } from '../errors/vhost-error.js';
import { type MemoryMapping, WINDOW_SIZE, WINDOW_STRIDE } from './mapping.js';

/** One piece of guest memory as a front-end describes it, with the bytes behind it. */
export interface MemoryRegion {
  /** First guest-physical address. Descriptors hold these. */
  readonly guestAddress: number;
  /** First address in the front-end's own address space. Ring addresses are these. */
  readonly userAddress: number;
  /** Bytes; at least 1. */
  readonly size: number;
  /** The bytes; `mapping.size` is at least `size`. */
  readonly mapping: MemoryMapping;
}

/** Above this, a JavaScript number no longer counts bytes exactly. */
export const ADDRESS_LIMIT = Number.MAX_SAFE_INTEGER;

/**
 * Checks one region's arithmetic (hazard T22).
 * Throws `EINVAL` for a size of zero, an address that wraps or passes 2^53, or too few bytes behind.
 */
export function checkRegion(region: MemoryRegion): void {
  const { guestAddress, userAddress, size, mapping } = region;
  for (const [name, value] of Object.entries({ guestAddress, userAddress, size })) {
    if (!Number.isSafeInteger(value) || value < 0) {
      throw new VhostError('EINVAL', `memory region: ${name} ${value} is not below 2^53`);
    }
  }
  if (size === 0) throw new VhostError('EINVAL', 'memory region: its size is 0');
  if (guestAddress + size > ADDRESS_LIMIT || userAddress + size > ADDRESS_LIMIT) {
    throw new VhostError('EINVAL', 'memory region: its end passes 2^53');
  }
  if (mapping.size < size) {
    throw new VhostError(
      'EINVAL',
      `memory region: ${size} bytes declared, ${mapping.size} bytes behind them`,
    );
  }
}

/** Which of a mapping's windows to use for `offset`: the last one that begins at or before it. */
export function windowAt(mapping: MemoryMapping, offset: number): number {
  return Math.min(Math.floor(offset / WINDOW_STRIDE), mapping.windows.length - 1);
}

/** How many bytes of the region can be reached in window `index`, from its first byte on. */
export function bytesInWindow(region: MemoryRegion, index: number): number {
  return Math.min(WINDOW_SIZE, region.size - index * WINDOW_STRIDE);
}
