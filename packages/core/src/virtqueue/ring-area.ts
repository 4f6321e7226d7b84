import { VhostError } from '../errors/vhost-error.js';
import type { WindowRange } from '../memory/memory-table.js';
import { type Translator, unreachable } from '../memory/translator.js';

/**
 * Finds one area of a ring in memory.
 *
 * Throws `EFAULT` when it is not whole in one region, `EINVAL` when it does not lie at a multiple of
 * `alignment` (seed A9); behind an IOMMU also an `IotlbMiss`, and `EPERM` for an area that may not be
 * accessed.
 */
export function findArea(
  table: Translator,
  name: string,
  address: number,
  { bytes, alignment, write }: { bytes: number; alignment: number; write: boolean },
): WindowRange {
  const range = table.findRing(address, bytes, write);
  if (typeof range === 'string') {
    throw unreachable(range, name, [address, bytes], { missed: table.missed, write });
  }
  if (range.offset % alignment !== 0) {
    throw new VhostError('EINVAL', `${name} is not aligned to ${alignment} bytes`);
  }
  return range;
}
