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
  checkMemoryTableHeader(padding, regions.length);
  for (const region of regions) checkPadding(region.padding);
}

/** The part of {@link checkMemoryTable} that stands before the regions: padding, and their number. */
export function checkMemoryTableHeader(padding: number, count: number): void {
  checkPadding(padding);
  if (count > MAX_TABLE_REGIONS) {
    throw new VhostError(
      'E2BIG',
      `memory table: ${count} regions, at most ${MAX_TABLE_REGIONS} are taken`,
    );
  }
}

function checkPadding(padding: number): void {
  if (padding !== 0) throw new VhostError('EOPNOTSUPP', 'memory table: its padding is not zero');
}
