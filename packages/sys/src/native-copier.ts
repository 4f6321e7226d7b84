import { type FrameCopier, type PacketBatch, PlainCopier, VhostError } from '@rxvhost/core';
import { bindBatch, bindWindows } from './batch-binding.js';
import { check } from './failure.js';
import { loadNative, type Native } from './native.js';

/**
 * {@link FrameCopier} with one native call a batch: what `PlainCopier` does, a few nanoseconds a
 * frame.
 *
 * A batch in plain JavaScript memory, which native code cannot reach, goes to a `PlainCopier`. A
 * frame with a segment that is not inside its window is not copied: `gather` notes `-EFAULT` in
 * `results` and goes on (it takes no room in the target), `scatter` stops before it.
 */
export class NativeCopier implements FrameCopier {
  readonly #native: Native = loadNative();
  readonly #plain = new PlainCopier();

  gather(batch: PacketBatch, first: number, target: Uint8Array, at: number): number {
    const windows = bindWindows(batch.windows);
    if (!windows.reachable) return this.#plain.gather(batch, first, target, at);
    const { handle } = bindBatch(batch);
    const result = this.#native.gather(handle, windows.handle, first, target, at);
    return result < 0 ? check(result, 'gather frames') : result;
  }

  /** As the interface says; throws `EINVAL` where the frames pass the end of `source` or `lengths`. */
  scatter(
    batch: PacketBatch,
    source: Uint8Array,
    at: number,
    lengths: Uint32Array,
    firstLength: number,
    count: number,
  ): number {
    const windows = bindWindows(batch.windows);
    if (!windows.reachable) {
      return this.#plain.scatter(batch, source, at, lengths, firstLength, count);
    }
    const binding = bindBatch(batch);
    const result = this.#native.scatter(
      binding.handle,
      windows.handle,
      source,
      at,
      lengths,
      firstLength,
      count,
    );
    binding.store(batch);
    return result < 0 ? check(result, 'scatter frames') : result;
  }
}

/**
 * Copies frames from one guest's transmit batch straight into another's receive batch, by the rules
 * of `PacketSocket.receive`: `to.skip` bytes before each frame are left as they are, `to`'s frame
 * counts grow, a frame that fits no buffer there is counted in `to.oversized` and is gone.
 * `from.results[i]` becomes the frame's length, or `-EFAULT`. Memory that native code cannot reach,
 * on either side, is copied in TypeScript.
 *
 * @returns how many frames of `from` were disposed of; fewer than given: `to` has no chain left.
 * Throws `EINVAL` for one batch twice
 */
export function copyFrames(from: PacketBatch, first: number, to: PacketBatch): number {
  if (from === to) throw new VhostError('EINVAL', 'copy frames from a batch to itself');
  const source = bindWindows(from.windows);
  const target = bindWindows(to.windows);
  if (!source.reachable || !target.reachable) return copyPlainly(from, first, to);
  const fromBinding = bindBatch(from);
  const toBinding = bindBatch(to);
  const result = loadNative().copyFrames(
    fromBinding.handle,
    source.handle,
    first,
    toBinding.handle,
    target.handle,
  );
  toBinding.store(to);
  return check(result, 'copy frames');
}

function copyPlainly(from: PacketBatch, first: number, to: PacketBatch): number {
  for (let frame = first; frame < from.count; frame += 1) {
    const bytes = new Uint8Array(from.frameLength(frame));
    from.copyFrame(frame, bytes);
    if (to.deliver(bytes) === 'full') return frame - first;
    from.results[frame] = bytes.length;
  }
  return from.count - first;
}
