import { DESCRIPTOR_INDIRECT, DESCRIPTOR_NEXT, DESCRIPTOR_WRITE } from '../descriptor.js';
import type { PacketBatch } from '../packet-batch.js';
import { LIMIT, type PlainLimits } from '../plain-limits.js';
import type { SplitRing } from './split-ring.js';

/** Flags that only a plain chain has as the direction wants them. */
const SPECIAL = DESCRIPTOR_NEXT | DESCRIPTOR_WRITE | DESCRIPTOR_INDIRECT;

/** Whether the chain at the available index `next` looks plain: cheaper to ask than to try. */
export function looksPlain(ring: SplitRing, next: number, wanted: number): boolean {
  const { available, availableFlags, descriptorWords, descriptorOffset, size } = ring;
  const head = available[availableFlags + 2 + (next & (size - 1))] as number;
  if (head >= size || (descriptorOffset & 3) !== 0) return false;
  return (
    ((descriptorWords[(descriptorOffset >>> 2) + 4 * head + 3] as number) & SPECIAL) === wanted
  );
}

/**
 * The hot loop: adds chains of one descriptor each to a batch, from the available index `next` on,
 * until one needs the careful walker. They are available, and the table lies at a multiple of four.
 *
 * All is in 32-bit integers, and each word of the ring is read once into a local (T38). Each layout has
 * such a loop of its own, alike but for where it finds a chain: what they share is a handful of locals,
 * and stores that a function would be called for at every chain.
 * @param most - chains that may be taken; the batch has room for them
 * @param wanted - the WRITE flag that each must have, or 0
 * @returns how many were taken
 */
export function takePlain(
  { available, availableFlags, descriptorWords, descriptorOffset, size }: SplitRing,
  next: number,
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
  const entries = availableFlags + 2;
  const table = descriptorOffset >>> 2;
  const mask = size - 1;
  const begin = batch.count;
  const end = (begin + most) | 0;
  const ahead = (next - begin) | 0;
  let chain = begin | 0;
  while (chain < end) {
    const head = available[(entries + ((ahead + chain) & mask)) | 0] as number;
    if (head > mask) break;
    const at = (table + (head << 2)) | 0;
    const flags = descriptorWords[(at + 3) | 0] as number;
    const length = descriptorWords[(at + 2) | 0] as number;
    const low = descriptorWords[at] as number;
    const high = descriptorWords[(at + 1) | 0] as number;
    const distance = (low - startLow) | 0;
    if (
      (flags & SPECIAL) !== wanted ||
      length < minimum ||
      length > span ||
      high !== (low >>> 0 < startLow >>> 0 ? (startHigh + 1) | 0 : startHigh) ||
      distance >>> 0 > (span - length) >>> 0
    ) {
      break;
    }
    columns[chain] = head;
    columns[(lengths + chain) | 0] = length;
    columns[(firstSegments + chain) | 0] = (segment + chain) | 0;
    columns[(segmentWindows + chain) | 0] = window;
    columns[(segmentOffsets + chain) | 0] = (offset + distance) | 0;
    columns[(segmentLengths + chain) | 0] = length;
    chain = (chain + 1) | 0;
  }
  const taken = chain - begin;
  batch.count = chain;
  batch.segments.count += taken;
  return taken;
}
