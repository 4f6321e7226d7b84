import type { PacketBatch } from './packet-batch.js';

/**
 * Makes two chains of one: its first `readable` bytes stay in `request`, the rest, which is writable,
 * goes to `answer`. A walked chain has all that is readable before all that is writable, and no
 * segment is of both kinds.
 */
export function splitExchange(
  request: PacketBatch,
  answer: PacketBatch,
  head: number,
  readable: number,
): void {
  const from = request.segments;
  const to = answer.segments;
  let first = 0;
  for (let left = readable; left > 0; first += 1) left -= from.length[first] as number;
  let writable = 0;
  for (let segment = first; segment < from.count; segment += 1) {
    const length = from.length[segment] as number;
    to.push(from.window[segment] as number, from.offset[segment] as number, length);
    writable += length;
  }
  from.count = first;
  makeOnly(request, head, readable);
  makeOnly(answer, head, writable);
}

function makeOnly(batch: PacketBatch, head: number, length: number): void {
  batch.heads[0] = head;
  batch.lengths[0] = length;
  batch.firstSegment[0] = 0;
  batch.firstSegment[1] = batch.segments.count;
  batch.count = 1;
}
