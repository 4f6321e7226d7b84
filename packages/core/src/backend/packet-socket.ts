import type { Observable } from 'rxjs';
import type { MemoryMapping } from '../memory/mapping.js';
import type { PacketBatch } from '../virtqueue/packet-batch.js';
import type { ZeroCopySender } from './zero-copy.js';

/**
 * What a socket that carries the virtio-net header can honour in it (hazard T54): bits of
 * `NET_FEATURE`. `CSUM` and `HOST_…`: such frames may be sent unfinished. `GUEST_…`: such frames may
 * be received unfinished.
 */
export interface SocketOffloads {
  /** What the socket can do at all; does not change. */
  readonly supported: bigint;
  /**
   * The driver has accepted these offloads, some of {@link supported}: said when a queue of this
   * socket's starts, and again with 0 when none runs any more. From now on `receive` gives no frame
   * that asks for another `GUEST_…` offload; one that waited in the socket before may still come, the
   * device sees to it. Must not throw.
   */
  accept(offloads: bigint): void;
  /**
   * `true` for a socket that cannot be told: it gives unfinished frames whatever was accepted. The device
   * then receives into memory of its own where a large segment would fit none of the guest's buffers:
   * those are small when the driver has accepted none, and has no mergeable ones.
   */
  readonly fixed?: boolean;
}

/**
 * What a NIC's queue pair is attached to: anything that takes and gives Ethernet frames in batches.
 * A tap, a raw packet socket, a tunnel in twenty lines of TypeScript: the device sees only this.
 *
 * `send` and `receive` are called from the device's turns, never concurrently, never after `close`.
 * They must not block, and must not keep the batch.
 */
export interface PacketSocket {
  /**
   * Bytes of virtio-net header that stand before every frame on this socket, both ways: 0 when it
   * takes bare frames (the device strips and supplies the header), else what
   * {@link setHeaderLength} chose. Seed C2.
   */
  readonly headerLength: number;

  /**
   * For sockets that carry the virtio-net header: 10 or 12 bytes of it from now on, or 20 where
   * {@link takesHash} says so. Absent on sockets that take bare frames.
   */
  setHeaderLength?(bytes: 10 | 12 | 20): void;

  /**
   * For sockets that carry the virtio-net header: `true` where it may have the 20 bytes that end in a
   * hash (HASH_REPORT). The device fills the hash in; the socket need not know what it means.
   */
  readonly takesHash?: boolean;

  /**
   * Emits while frames can be received. Subscribing starts the poll, unsubscribing stops it; it is
   * level-triggered: it emits again (once a turn at most) until the frames are taken. A socket that
   * is ready when the subscription comes emits soon after (seed A12).
   */
  readonly readable$: Observable<void>;
  /** Emits while frames can be sent again after `send` took fewer than it was given. As above. */
  readonly writable$: Observable<void>;

  /**
   * Sends frames `first … batch.count - 1` in order, without their first `batch.skip` bytes, and
   * notes each one's fate in `batch.results`. A frame that can never be sent is dropped, with a
   * negative errno there, and counts as disposed of.
   * @returns how many frames were disposed of; fewer than given means: full, wait for `writable$`
   */
  send(batch: PacketBatch, first: number): number;

  /**
   * Receives frames into the batch's chains and sets `frameCount`, `frameLengths`, `frameChains`
   * and `oversized`. Fewer frames than would fit means: nothing more to read now.
   * @returns how many chains the frames fill
   */
  receive(batch: PacketBatch): number;

  /**
   * How full the send buffer is, 0 to 1, where the socket can tell (a raw socket's send buffer):
   * the device then waits for `writable$` early, by the thresholds of seed C4.
   */
  sendBufferFill?(): number;

  /**
   * Present on sockets that carry the virtio-net header and understand it. For one without, the
   * device finishes every frame in software before `send` and lets none through that is unfinished
   * after `receive` (hazard T55).
   */
  readonly offloads?: SocketOffloads;

  /**
   * Memory for frames that the device makes itself, for sockets that send by native code: `send` is
   * given batches in it as well. The device releases it. Left out: an `ArrayBuffer` will do.
   * @param bytes - 1 to 16 MiB
   */
  allocate?(bytes: number): MemoryMapping;

  /**
   * For one socket of several on the same interface: whether frames may be steered to this one. The
   * device says no while the guest does not use the queue pair, so that nothing waits there for ever
   * (hazard T58). Must not throw.
   */
  setSteering?(on: boolean): void;

  /** Present on sockets that can send by reference and complete later. */
  readonly zeroCopy?: ZeroCopySender;

  /** Releases everything the socket owns, once; later calls do nothing. Ends both observables. */
  close(): void;
}
