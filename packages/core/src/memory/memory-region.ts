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
  /** The bytes. */
  readonly mapping: MemoryMapping;
  /** Where in the mapping the region begins; 0 when left out. */
  readonly mappingOffset?: number;
}

/** Above this, a JavaScript number no longer counts bytes exactly. */
export const ADDRESS_LIMIT = Number.MAX_SAFE_INTEGER;

/**
 * Checks one region's arithmetic (hazard T22).
 * Throws `EINVAL` for a size of zero, an address that wraps or passes 2^53, or too few bytes behind.
 */
export function checkRegion(region: MemoryRegion): void {
  const { guestAddress, userAddress, size, mapping, mappingOffset = 0 } = region;
  const numbers = { guestAddress, userAddress, size, mappingOffset };
  for (const [name, value] of Object.entries(numbers)) {
    if (!Number.isSafeInteger(value) || value < 0) {
      throw new VhostError('EINVAL', `memory region: ${name} ${value} is not below 2^53`);
    }
  }
  if (size === 0) throw new VhostError('EINVAL', 'memory region: its size is 0');
  if (guestAddress + size > ADDRESS_LIMIT || userAddress + size > ADDRESS_LIMIT) {
    throw new VhostError('EINVAL', 'memory region: its end passes 2^53');
  }
  if (mapping.size < mappingOffset + size) {
    throw new VhostError(
      'EINVAL',
      `memory region: ${size} bytes declared, ${mapping.size - mappingOffset} bytes behind them`,
    );
  }
}

/** A stretch of a region that one window shows. */
export interface RegionWindow {
  /** Index among the mapping's windows. */
  readonly index: number;
  /** Offset in the region of the stretch's first byte, and of the byte after its last. */
  readonly start: number;
  readonly end: number;
  /** Offset in the window of the stretch's first byte. */
  readonly offset: number;
}

/** The stretch of `region` around `offset` in the last window that begins at or before it. */
export function regionWindow(region: MemoryRegion, offset: number): RegionWindow {
  const { mapping, mappingOffset = 0, size } = region;
  const index = Math.min(
    Math.floor((mappingOffset + offset) / WINDOW_STRIDE),
    mapping.windows.length - 1,
  );
  const windowStart = index * WINDOW_STRIDE - mappingOffset;
  const start = Math.max(0, windowStart);
  return {
    index,
    start,
    end: Math.min(size, windowStart + WINDOW_SIZE),
    offset: start - windowStart,
  };
}
