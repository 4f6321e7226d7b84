/**
 * Joins a batch's typed arrays to native code, once: a call then passes two handles, and native code
 * finds the arrays where it left them.
 *
 * That is safe while nobody detaches an array (`postMessage` with a transfer list, `structuredClone`):
 * the pointers would dangle. A detached array has length 0, so every call looks at the lengths
 * first, which costs a nanosecond each.
 */
import { type PacketBatch, VhostError, type WindowTable } from '@rxvhost/core';
import { failure } from './failure.js';
import { type Handle, loadNative, type Native } from './native.js';

// As struct BatchControl in native/batch.h.
const COUNT = 0;
const SKIP = 1;
const CHAINS_PER_FRAME = 2;
const LARGEST = 3;
const FRAME_COUNT = 4;
const OVERSIZED = 5;
const WANTS_MORE = 6;
const CONTROL_WORDS = 8;

/** A batch as native code knows it. Holds the arrays, so that they live as long as the handle. */
export class BatchBinding {
  readonly handle: Handle<'batch'>;
  readonly #control = new Uint32Array(CONTROL_WORDS);
  readonly #capacity: number;
  readonly #segmentCapacity: number;

  constructor(native: Native, batch: PacketBatch) {
    const { segments } = batch;
    const handle = native.bindBatch([
      this.#control,
      batch.firstSegment,
      batch.lengths,
      segments.window,
      segments.offset,
      segments.length,
      batch.frameLengths,
      batch.frameChains,
      batch.results,
    ]);
    if (typeof handle === 'number') throw failure(handle, 'bind the arrays of a packet batch');
    this.handle = handle;
    this.#capacity = batch.lengths.length;
    this.#segmentCapacity = segments.window.length;
  }

  /** Passes the batch's numbers to native code. Throws `EFAULT` when one of its arrays is detached. */
  load(batch: PacketBatch): void {
    const { segments } = batch;
    const capacity = this.#capacity;
    if (
      batch.firstSegment.length <= capacity ||
      batch.lengths.length !== capacity ||
      batch.results.length !== capacity ||
      batch.frameLengths.length !== capacity ||
      batch.frameChains.length !== capacity ||
      segments.window.length !== this.#segmentCapacity ||
      segments.offset.length !== this.#segmentCapacity ||
      segments.length.length !== this.#segmentCapacity
    ) {
      throw new VhostError('EFAULT', 'an array of a packet batch was detached');
    }
    const control = this.#control;
    control[COUNT] = batch.count;
    control[SKIP] = batch.skip;
    control[CHAINS_PER_FRAME] = batch.chainsPerFrame;
    control[LARGEST] = batch.largest ? 1 : 0;
    control[FRAME_COUNT] = batch.frameCount;
    control[OVERSIZED] = batch.oversized;
    control[WANTS_MORE] = batch.wantsMore ? 1 : 0;
  }

  /** Takes back what native code counted. */
  store(batch: PacketBatch): void {
    batch.frameCount = this.#control[FRAME_COUNT] as number;
    batch.oversized = this.#control[OVERSIZED] as number;
    batch.wantsMore = this.#control[WANTS_MORE] === 1;
  }
}

/** A window table as native code knows it. */
export class WindowBinding {
  readonly handle: Handle<'windows'>;
  /** Native code can reach every window (or could, before the table was invalidated). */
  readonly reachable: boolean;
  readonly #count: number;

  constructor(native: Native, table: WindowTable) {
    const handle = native.bindWindows(table.address, table.length);
    if (typeof handle === 'number') throw failure(handle, 'bind the arrays of a window table');
    this.handle = handle;
    this.#count = table.address.length;
    this.reachable = table.address.every((address) => address !== 0);
  }

  /** Throws `EFAULT` when an array of the table is detached. */
  checkAttached(table: WindowTable): void {
    if (table.address.length !== this.#count || table.length.length !== this.#count) {
      throw new VhostError('EFAULT', 'an array of a window table was detached');
    }
  }
}

/** The binding of a batch, made at its first use; its numbers are passed on. */
export function bindBatch(batch: PacketBatch): BatchBinding {
  const existing = batch.nativeBinding;
  const binding =
    existing instanceof BatchBinding ? existing : new BatchBinding(loadNative(), batch);
  batch.nativeBinding = binding;
  binding.load(batch);
  return binding;
}

/** The binding of a window table, made at its first use. */
export function bindWindows(table: WindowTable): WindowBinding {
  const existing = table.nativeBinding;
  const binding =
    existing instanceof WindowBinding ? existing : new WindowBinding(loadNative(), table);
  table.nativeBinding = binding;
  binding.checkAttached(table);
  return binding;
}
