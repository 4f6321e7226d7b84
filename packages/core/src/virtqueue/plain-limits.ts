import type { WindowStretch } from '../memory/memory-table.js';
import { MAX_SEGMENTS, type PacketBatch } from './packet-batch.js';

/** Places in {@link PlainLimits.values}. */
export const LIMIT = {
  /** Guest address that the stretch begins at, as two halves; its bytes. */
  START_LOW: 0,
  START_HIGH: 1,
  SPAN: 2,
  /** The stretch's window, and its first byte there. */
  WINDOW: 3,
  OFFSET: 4,
  /** Bytes that a chain must have. */
  MINIMUM: 5,
  /** What is added to a chain's number: for its columns in the batch, and for its segment's number. */
  LENGTHS: 6,
  FIRST_SEGMENTS: 7,
  SEGMENT_WINDOWS: 8,
  SEGMENT_OFFSETS: 9,
  SEGMENT_LENGTHS: 10,
  SEGMENT: 11,
} as const;

const COUNT = 12;
const MOST_BYTES = 0x7fff_ffff;

/**
 * What the loops over plain chains, of one direct descriptor each in the stretch of memory that was
 * seen last, compare with and add: in an array, because V8 then has integers in registers or on the
 * stack. A number from an object's field it converts anew in each round of a loop.
 */
export class PlainLimits {
  readonly values = new Int32Array(COUNT);

  /**
   * For chains that are added to `batch` as it is now.
   * @param minimum - bytes that each must have; a chain of none is not plain
   */
  set(batch: PacketBatch, { start, end, window, offset }: WindowStretch, minimum: number): void {
    const { values } = this;
    values[LIMIT.START_LOW] = start;
    values[LIMIT.START_HIGH] = Math.floor(start / 0x1_0000_0000);
    values[LIMIT.SPAN] = Math.min(end - start, MOST_BYTES);
    values[LIMIT.WINDOW] = window;
    values[LIMIT.OFFSET] = offset;
    values[LIMIT.MINIMUM] = Math.max(minimum, 1);
    const { segments, lengthsAt, firstSegmentAt, segmentsAt } = batch;
    const segment = segments.count - batch.count;
    values[LIMIT.LENGTHS] = lengthsAt;
    values[LIMIT.FIRST_SEGMENTS] = firstSegmentAt + 1;
    values[LIMIT.SEGMENT_WINDOWS] = segmentsAt + segment;
    values[LIMIT.SEGMENT_OFFSETS] = segmentsAt + segments.capacity + segment;
    values[LIMIT.SEGMENT_LENGTHS] = segmentsAt + 2 * segments.capacity + segment;
    values[LIMIT.SEGMENT] = segment + 1;
  }
}

/** Segments after which a batch takes no other chain, since that may have {@link MAX_SEGMENTS}. */
export function segmentRoom({ segments }: PacketBatch): number {
  return Math.max(0, segments.capacity - MAX_SEGMENTS);
}
