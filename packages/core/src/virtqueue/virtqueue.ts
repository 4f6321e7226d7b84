import type { VhostError } from '../errors/vhost-error.js';
import type { PacketBatch } from './packet-batch.js';

/**
 * The device's side of a virtqueue, split or packed: takes descriptor chains that the driver made
 * available, gives them back as used, and says who wants to be notified.
 *
 * `take…` consumes chains in order. What is taken is either completed or put back; `putBack` returns
 * the chains taken last, so that the next take gives them again (seed B4).
 */
export interface Virtqueue {
  /** Entries. */
  readonly size: number;
  /** The next available index to be looked at: what GET_VRING_BASE answers. */
  readonly nextAvailable: number;
  /**
   * Why the last take gave nothing, when that was not an empty queue (seed B1). The broken chain is
   * still there; the next take looks at it again.
   */
  readonly fault: VhostError | undefined;
  /** Descriptors read so far. A turn's budget looks at it, since a chain may have very many. */
  readonly walked: number;

  /**
   * Fills `batch` with up to `limit` chains to read from (transmit). A chain with a writable
   * descriptor, or with no more than `headerLength` bytes, is a fault and is consumed without a used
   * entry (seeds B9, C3).
   * @param skip - see `PacketBatch.skip`
   * @returns chains taken; 0 with `fault` set or not
   */
  takeReadable(batch: PacketBatch, limit: number, headerLength: number, skip: number): number;
  /**
   * Fills `batch` with up to `limit` chains to write to (receive). A chain with a readable
   * descriptor, or too short for the header, is a fault and stays.
   */
  takeWritable(batch: PacketBatch, limit: number, headerLength: number, skip: number): number;
  /** Returns the last `chains` taken (seed B4). */
  putBack(chains: number): void;

  /** Publishes chains `0 … count - 1` of a transmit batch as used, nothing written (seed B5). */
  completeReadable(batch: PacketBatch, count: number): void;
  /**
   * Publishes the chains that the frames of a receive batch fill, with the bytes written in each,
   * all at once (seeds B5, C7).
   */
  completeWritable(batch: PacketBatch): void;

  /** Whether the driver wants a call for what was published since this was asked last (seed B6). */
  takeCallWanted(): boolean;
  /** Asks the driver for no kicks. A hint: kicks may come all the same (seed B7). */
  disableNotifications(): void;
  /**
   * Asks for a kick with the next available chain.
   * @returns true when chains have become available meanwhile: look again, no kick will come
   */
  enableNotifications(): boolean;
  /** True when the driver has made nothing available that was not taken. */
  isEmpty(): boolean;
}
