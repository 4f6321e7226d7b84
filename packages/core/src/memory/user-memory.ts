import { lendMapping, type MemoryMapping } from './mapping.js';
import type { MemoryRegion } from './memory-region.js';

/** A memory region as a request describes it: numbers only, the bytes are found by user address. */
export interface RegionDescription {
  readonly guestAddress: number;
  readonly userAddress: number;
  readonly size: number;
}

/**
 * The table that a device has before it is given one, and again after RESET_OWNER: every guest
 * address is the same user address. Two regions, since one would need a size of 2^64 (seed A2).
 */
export const DEFAULT_REGIONS: readonly RegionDescription[] = [
  { guestAddress: 0, userAddress: 0, size: 2 ** 63 },
  { guestAddress: 2 ** 63, userAddress: 2 ** 63, size: 2 ** 63 },
];

/**
 * Memory that the device's owner has registered by user address: what the owner's address space is
 * to the kernel. Transports that bring each region's bytes along (vhost-user) do without it.
 */
export class UserMemory {
  readonly #mappings: { readonly userAddress: number; readonly mapping: MemoryMapping }[] = [];

  /** Makes `mapping` known at `userAddress`. It stays the caller's to release, after `forget`. */
  register(userAddress: number, mapping: MemoryMapping): void {
    this.#mappings.push({ userAddress, mapping: lendMapping(mapping) });
  }

  /** Takes the mapping at `userAddress` out again; tables already made keep seeing it. */
  forget(userAddress: number): void {
    const index = this.#mappings.findIndex((known) => known.userAddress === userAddress);
    if (index >= 0) this.#mappings.splice(index, 1);
  }

  /** The registered mapping that holds the byte at `userAddress`, and where in it; borrowed. */
  find(userAddress: number): { mapping: MemoryMapping; offset: number } | undefined {
    for (const { userAddress: start, mapping } of this.#mappings) {
      const offset = userAddress - start;
      if (offset >= 0 && offset < mapping.size) return { mapping, offset };
    }
    return undefined;
  }

  /** The registered parts of the described regions. What is not registered is not accessible. */
  resolve(descriptions: readonly RegionDescription[]): MemoryRegion[] {
    return descriptions.flatMap(({ guestAddress, userAddress, size }) =>
      this.#mappings.flatMap((known) => {
        const start = Math.max(userAddress, known.userAddress);
        const end = Math.min(userAddress + size, known.userAddress + known.mapping.size);
        if (start >= end) return [];
        return {
          guestAddress: guestAddress + (start - userAddress),
          userAddress: start,
          size: end - start,
          mapping: known.mapping,
          mappingOffset: start - known.userAddress,
        };
      }),
    );
  }
}
