import { copyBytes, viewOf } from '../memory/copy-bytes.js';
import { SegmentList } from '../memory/segment-list.js';
import { WindowTable } from '../memory/window-table.js';

/** The most descriptor chains that travel together. */
export const BATCH_CHAINS = 256;
/** The most segments in one chain, as in the kernel (UIO_MAXIOV, seed B3). */
export const MAX_SEGMENTS = 1024;
const BATCH_SEGMENTS = 2 * MAX_SEGMENTS;

const NO_WINDOWS = new WindowTable([]);

/**
 * Descriptor chains on their way from a virtqueue to a backend and back, as a struct of typed
 * arrays: the currency of the hot path. Made once per queue and direction, filled again and again.
 *
 * Chain `i` is the segments `firstSegment[i] … firstSegment[i + 1] - 1`, in order; `lengths[i]` bytes
 * altogether, of which the first `skip` do not belong to the frame (a virtio-net header that the
 * device itself strips or supplies).
 *
 * On transmit a chain is a frame to send. On receive a chain is empty space; the frames that a
 * backend writes there are `frameCount`, `frameLengths` and `frameChains`: frame 0 fills the first
 * `frameChains[0]` chains, frame 1 the next `frameChains[1]`, and so on. Without mergeable receive
 * buffers (`chainsPerFrame` 1) each frame has exactly one chain.
 */
export class PacketBatch {
  /** Chains in the batch. */
  count = 0;
  /** Head descriptor of each chain: what the used ring names it by. */
  readonly heads: Uint32Array;
  /** All bytes of each chain, `skip` included. */
  readonly lengths: Uint32Array;
  /** Index of each chain's first segment; one entry more than chains, so `[i + 1]` always ends `[i]`. */
  readonly firstSegment: Uint32Array;
  /** The segments of all chains, one after the other. */
  readonly segments: SegmentList;
  /** The windows that the segments speak of. */
  windows: WindowTable = NO_WINDOWS;
  /** Bytes at the beginning of each chain that are not part of the frame. */
  skip = 0;

  /** Receive: the most chains that one frame may fill. */
  chainsPerFrame = 1;
  /**
   * Receive: no larger batch will come, so that a frame which needs more chains than there are is
   * oversized rather than to be kept.
   */
  largest = false;
  /** Receive, set by the backend: a frame waits that needs more chains than there were left. */
  wantsMore = false;
  /** Receive: frames that the backend wrote. */
  frameCount = 0;
  /** Receive: bytes of each frame, without `skip`. */
  readonly frameLengths: Uint32Array;
  /** Receive: chains that each frame fills, at least 1. */
  readonly frameChains: Uint32Array;
  /** Receive: frames that the backend took in and threw away because no buffer was large enough. */
  oversized = 0;

  /**
   * Transmit: what became of each frame that `send` disposed of: the bytes that the backend took
   * (fewer than the frame has: a short write), or a negative errno for a frame it dropped.
   */
  readonly results: Int32Array;

  /**
   * `heads` (from 0 on), `lengths`, `frameLengths`, `frameChains`, `firstSegment` and the three arrays of
   * `segments` as one array, and where in it they begin: for the loops of virtqueues. V8 checks an array
   * and loads where it lies anew in each round of a loop, which costs more than a store into it.
   */
  readonly columns: Int32Array;
  readonly lengthsAt: number;
  readonly frameLengthsAt: number;
  readonly frameChainsAt: number;
  readonly firstSegmentAt: number;
  readonly segmentsAt: number;

  /** Where native code keeps what it prepared for this batch; nobody else looks at it. */
  nativeBinding: unknown = undefined;

  constructor(
    readonly capacity = BATCH_CHAINS,
    segmentCapacity = BATCH_SEGMENTS,
  ) {
    this.columns = new Int32Array(5 * capacity + 1 + 3 * segmentCapacity);
    const { buffer } = this.columns;
    const column = (at: number, words = capacity) => new Uint32Array(buffer, 4 * at, words);
    this.lengthsAt = capacity;
    this.frameLengthsAt = 2 * capacity;
    this.frameChainsAt = 3 * capacity;
    this.firstSegmentAt = 4 * capacity;
    this.segmentsAt = 5 * capacity + 1;
    this.heads = column(0);
    this.lengths = column(this.lengthsAt);
    this.frameLengths = column(this.frameLengthsAt);
    this.frameChains = column(this.frameChainsAt);
    this.firstSegment = column(this.firstSegmentAt, capacity + 1);
    this.segments = new SegmentList(segmentCapacity, column(this.segmentsAt, 3 * segmentCapacity));
    this.results = new Int32Array(capacity);
  }

  /** Empties the batch; `windows` are those of the memory that it will speak of. */
  reset(windows: WindowTable, skip: number): void {
    this.count = 0;
    this.segments.count = 0;
    this.frameCount = 0;
    this.oversized = 0;
    this.wantsMore = false;
    this.windows = windows;
    this.skip = skip;
  }

  /** Bytes of transmit frame `index`, header included where the backend takes one. */
  frameLength(index: number): number {
    return (this.lengths[index] as number) - this.skip;
  }

  /**
   * Copies transmit frame `index` into `target` at `at`; for backends in plain TypeScript.
   * Returns the bytes copied: the whole frame, or fewer where `target` ends first.
   */
  copyFrame(index: number, target: Uint8Array | DataView, at = 0): number {
    const view = target instanceof DataView ? target : viewOf(target);
    const { window, offset, length } = this.segments;
    let skip = this.skip;
    let to = at;
    const end = this.firstSegment[index + 1] as number;
    for (let s = this.firstSegment[index] as number; s < end && to < view.byteLength; s += 1) {
      const all = length[s] as number;
      const from = Math.min(skip, all);
      skip -= from;
      const bytes = Math.min(all - from, view.byteLength - to);
      const source = this.windows.view(window[s] as number);
      copyBytes(source, (offset[s] as number) + from, view, to, bytes);
      to += bytes;
    }
    return to - at;
  }

  /**
   * Writes a received frame, the `frameLength` bytes at `from`, into the next free chains and counts
   * it; for backends in plain TypeScript. `'full'`: no chain is left, keep the frame; `'oversized'`: it fits no buffer that
   * there is, it was counted and is to be thrown away.
   */
  deliver(
    frame: Uint8Array | DataView,
    from = 0,
    frameLength = frame.byteLength - from,
  ): 'delivered' | 'full' | 'oversized' {
    const first = this.filledChains();
    let chains = 0;
    let room = 0;
    while (room < frameLength || chains === 0) {
      // In this order: one that fills no more chains than it may will not fit later either.
      const outgrown = chains > 0 && first === 0 && chains === this.count && this.largest;
      if (outgrown || chains === this.chainsPerFrame) {
        this.oversized += 1;
        return 'oversized';
      }
      if (first + chains >= this.count) {
        this.wantsMore = true;
        return 'full';
      }
      room += (this.lengths[first + chains] as number) - (chains === 0 ? this.skip : 0);
      chains += 1;
    }
    const view = frame instanceof DataView ? frame : viewOf(frame);
    this.#scatter(view, from, frameLength, first, chains);
    this.frameLengths[this.frameCount] = frameLength;
    this.frameChains[this.frameCount] = chains;
    this.frameCount += 1;
    return 'delivered';
  }

  /** Counts a frame of no bytes in the next free chain, so that the chain is given back as it is. */
  deliverNothing(): void {
    this.frameLengths[this.frameCount] = 0;
    this.frameChains[this.frameCount] = 1;
    this.frameCount += 1;
  }

  /** Receive: chains that the frames so far fill. */
  filledChains(): number {
    if (this.chainsPerFrame === 1) return this.frameCount;
    let chains = 0;
    for (let f = 0; f < this.frameCount; f += 1) chains += this.frameChains[f] as number;
    return chains;
  }

  #scatter(
    frame: DataView,
    from: number,
    frameLength: number,
    first: number,
    chains: number,
  ): void {
    let skip = this.skip;
    let done = 0;
    const end = this.firstSegment[first + chains] as number;
    const { window, offset, length } = this.segments;
    for (let s = this.firstSegment[first] as number; s < end && done < frameLength; s += 1) {
      const all = length[s] as number;
      const skipped = Math.min(skip, all);
      skip -= skipped;
      const bytes = Math.min(all - skipped, frameLength - done);
      const target = this.windows.view(window[s] as number);
      copyBytes(frame, from + done, target, (offset[s] as number) + skipped, bytes);
      done += bytes;
    }
  }
}
