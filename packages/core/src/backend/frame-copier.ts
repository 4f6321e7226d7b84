import { viewOf } from '../memory/copy-bytes.js';
import type { PacketBatch } from '../virtqueue/packet-batch.js';

/**
 * Moves whole batches of frames between guest memory and a flat buffer. `@rxvhost/sys` does it with
 * one native call a batch; {@link PlainCopier} in TypeScript, for where there is no native code.
 */
export interface FrameCopier {
  /**
   * Copies transmit frames `first … batch.count - 1`, without their first `batch.skip` bytes, into
   * `target` from byte `at` on, one after the other without gaps; `batch.results[i]` becomes each
   * copied frame's length.
   * @returns how many frames were copied; fewer where the next one does not fit whole in `target`
   */
  gather(batch: PacketBatch, first: number, target: Uint8Array, at: number): number;

  /**
   * Receives `count` frames that lie one after the other in `source` from byte `at` on, with their
   * lengths in `lengths[firstLength …]`, into the batch's chains, by the rules of
   * `PacketSocket.receive`: a frame that fits no buffer is skipped and counted in `oversized`.
   * @returns how many frames were consumed, oversized ones included; fewer where chains ran out
   */
  scatter(
    batch: PacketBatch,
    source: Uint8Array,
    at: number,
    lengths: Uint32Array,
    firstLength: number,
    count: number,
  ): number;
}

/** {@link FrameCopier} in plain TypeScript. */
export class PlainCopier implements FrameCopier {
  gather(batch: PacketBatch, first: number, target: Uint8Array, at: number): number {
    const view = viewOf(target);
    let to = at;
    for (let frame = first; frame < batch.count; frame += 1) {
      const length = batch.frameLength(frame);
      if (to + length > target.length) return frame - first;
      batch.copyFrame(frame, view, to);
      batch.results[frame] = length;
      to += length;
    }
    return batch.count - first;
  }

  scatter(
    batch: PacketBatch,
    source: Uint8Array,
    at: number,
    lengths: Uint32Array,
    firstLength: number,
    count: number,
  ): number {
    let from = at;
    for (let frame = 0; frame < count; frame += 1) {
      const length = lengths[firstLength + frame] as number;
      if (batch.deliver(source.subarray(from, from + length)) === 'full') return frame;
      from += length;
    }
    return count;
  }
}
