import { ArrayBufferMapping } from '@rxvhost/core';
import { GuestMemoryArena } from '../../src/index.js';

/** One region of plain memory; its user address differs from its guest address on purpose. */
export function plainArena(size = 1 << 20): GuestMemoryArena {
  return new GuestMemoryArena([plainRegion(0x10_0000, 0x7f00_0000_0000, size)]);
}

export function plainRegion(guestAddress: number, userAddress: number, size: number) {
  const mapping = new ArrayBufferMapping(new ArrayBuffer(size));
  return { guestAddress, userAddress, size, mapping };
}
