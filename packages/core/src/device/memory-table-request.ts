import { VhostError } from '../errors/vhost-error.js';
import type { RegionDescription } from '../memory/user-memory.js';

/** Regions in one memory table of the request interface (seed A5). */
const MAX_TABLE_REGIONS = 64;

/** A memory table as the request interface carries it (seed A5). */
export interface MemoryTableRequest {
  readonly padding: number;
  readonly regions: readonly (RegionDescription & { readonly padding: number })[];
}

/** A5: `EOPNOTSUPP` for padding that is not zero, `E2BIG` for more regions than there may be. */
export function checkMemoryTable({ padding, regions }: MemoryTableRequest): void {
  if (padding !== 0 || regions.some((region) => region.padding !== 0)) {
    throw new VhostError('EOPNOTSUPP', 'memory table: its padding is not zero');
  }
  if (regions.length > MAX_TABLE_REGIONS) {
    throw new VhostError(
      'E2BIG',
      `memory table: ${regions.length} regions, at most ${MAX_TABLE_REGIONS} are taken`,
    );
  }
}
