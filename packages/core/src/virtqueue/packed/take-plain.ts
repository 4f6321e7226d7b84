import { DESCRIPTOR_INDIRECT, DESCRIPTOR_NEXT, DESCRIPTOR_WRITE } from '../descriptor.js';
import type { PacketBatch } from '../packet-batch.js';
import { LIMIT, type PlainLimits } from '../plain-limits.js';
import type { PackedRing } from './packed-ring.js';

/** Flags that only a plain chain has as the direction wants them, in a descriptor's last word. */
const SPECIAL = (DESCRIPTOR_NEXT | DESCRIPTOR_WRITE | DESCRIPTOR_INDIRECT) << 16;

/** Whether the descriptor at `position` looks like a plain chain: cheaper to ask than to try. */
export function looksPlain(
  { words, first }: PackedRing,
  position: number,
  wanted: number,
): boolean {
  return ((words[first + 4 * position + 3] as number) & SPECIAL) === wanted << 16;
}

/**
 * The hot loop: adds chains of one descriptor each to a batch, from `position` on, until one needs
 * the careful walker. They are available, and do not go around the ring's end.
 *
 * All is in 32-bit integers, and each word of the ring is read once into a local (T38). Each layout has
 * such a loop of its own, alike but for where it finds a chain: what they share is a handful of locals,
 * and stores that a function would be called for at every chain.
 * @param most - descriptors that may be taken; the batch has room for them
 * @param wanted - the WRITE flag that each must have, or 0
 * @returns how many were taken
 */
export function takePlain(
  { words, first, size }: PackedRing,
  position: number,
  most: number,
  batch: PacketBatch,
  { values }: PlainLimits,
  wanted: number,
): number {
  const { columns } = batch;
  const startLow = values[LIMIT.START_LOW] as number;
  const startHigh = values[LIMIT.START_HIGH] as number;
  const span = values[LIMIT.SPAN] as number;
  const window = values[LIMIT.WINDOW] as number;
  const offset = values[LIMIT.OFFSET] as number;
  const minimum = values[LIMIT.MINIMUM] as number;
  const lengths = values[LIMIT.LENGTHS] as number;
  const firstSegments = values[LIMIT.FIRST_SEGMENTS] as number;
  const segmentWindows = values[LIMIT.SEGMENT_WINDOWS] as number;
  const segmentOffsets = values[LIMIT.SEGMENT_OFFSETS] as number;
  const segmentLengths = values[LIMIT.SEGMENT_LENGTHS] as number;
  const segment = values[LIMIT.SEGMENT] as number;
  const flags = wanted << 16;
  const begin = batch.count;
  const end = (begin + most) | 0;
  let chain = begin | 0;
  let at = (first + 4 * position) | 0;
  while (chain < end) {
    const word = words[(at + 3) | 0] as number;
    const length = words[(at + 2) | 0] as number;
    const low = words[at] as number;
    const high = words[(at + 1) | 0] as number;
    const distance = (low - startLow) | 0;
    const id = word & 0xffff;
    if (
      (word & SPECIAL) !== flags ||
      length < minimum ||
      length > span ||
      high !== (low >>> 0 < startLow >>> 0 ? (startHigh + 1) | 0 : startHigh) ||
      distance >>> 0 > (span - length) >>> 0 ||
      id >= size
    ) {
      break;
    }
    columns[chain] = id;
    columns[(lengths + chain) | 0] = length;
    columns[(firstSegments + chain) | 0] = (segment + chain) | 0;
    columns[(segmentWindows + chain) | 0] = window;
    columns[(segmentOffsets + chain) | 0] = (offset + distance) | 0;
    columns[(segmentLengths + chain) | 0] = length;
    chain = (chain + 1) | 0;
    at = (at + 4) | 0;
  }
  const taken = chain - begin;
  batch.count = chain;
  batch.segments.count += taken;
  return taken;
}
