import type { VhostError } from '../errors/vhost-error.js';
import type { Translator } from '../memory/translator.js';
import type { PacketBatch } from './packet-batch.js';
import type { VirtqueueLog } from './virtqueue-log.js';

/** A number for each of a ring's three areas; a packed ring's event areas take the last two places. */
export interface RingAddresses {
  readonly descriptorTable: number;
  readonly availableRing: number;
  readonly usedRing: number;
}

/** The negotiated features that change how a ring is used. */
export interface RingFeatures {
  /** VIRTIO_F_INDIRECT_DESC. */
  readonly indirect: boolean;
  /** VIRTIO_F_EVENT_IDX. */
  readonly eventIndex: boolean;
  /** VIRTIO_F_NOTIFY_ON_EMPTY. */
  readonly notifyOnEmpty: boolean;
  /** VIRTIO_F_RING_PACKED: the ring is packed, not split. */
  readonly packed: boolean;
  /** VIRTIO_F_IN_ORDER: chains are completed in the order in which they were made available. */
  readonly inOrder: boolean;
}

/** Nothing is negotiated. */
export const NO_FEATURES: RingFeatures = {
  indirect: false,
  eventIndex: false,
  notifyOnEmpty: false,
  packed: false,
  inOrder: false,
};

/** A batch ends after this many descriptors, so that one take is a bounded piece of work (T43). */
export const DESCRIPTORS_PER_TAKE = 8192;

/** Makes virtqueues: what a device is given to build its own with. The features choose the layout. */
export interface VirtqueueFactory {
  /** Throws `EINVAL` for a number of entries that no such ring can have (A7). */
  checkSize(size: number, features: RingFeatures): void;
  /** Throws `EINVAL` for a number that is no base of such a ring (A8). */
  checkBase(base: number, features: RingFeatures): void;
  /** The base of a ring that nobody has used. */
  initialBase(features: RingFeatures): number;
  /** Bytes of each area of a ring. */
  areas(size: number, features: RingFeatures): RingAddresses;
  /**
   * Throws `EFAULT` when the ring does not lie in guest memory, `EINVAL` when it is not aligned (A9),
   * or when its size is not one of the layout's.
   */
  check(table: Translator, addresses: RingAddresses, size: number, features: RingFeatures): void;
  /**
   * Attaches to the ring: asks the driver for kicks and finds out what is used so far (A11).
   * Throws as `check`, and `EINVAL` for a base outside the ring.
   * @param base - where to go on, from SET_VRING_BASE; undefined: where the ring itself says that it
   * was used to, or at its beginning
   * @param log - where writes are logged from the first one on; nowhere when left out
   * @param before - the queue that ran on this ring until now: what it has taken is completed here
   */
  create(
    table: Translator,
    addresses: RingAddresses,
    size: number,
    features: RingFeatures,
    base: number | undefined,
    log?: VirtqueueLog,
    before?: Virtqueue,
  ): Virtqueue;
}

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
  /** Where it has got to: what GET_VRING_BASE answers, which the layout defines. */
  readonly base: number;
  /** Chains must be completed in the order in which they were taken: IN_ORDER, or an inflight region. */
  readonly inOrder: boolean;
  /**
   * What is wrong with the chain at which the last take ended (seed B1); undefined when it ended for
   * another reason. The broken chain is still there, unless it was said to be consumed, and the next
   * take comes to it first: with nothing taken, this is why.
   */
  readonly fault: VhostError | undefined;
  /** The last take ended early to bound its work, although more good chains may follow. */
  readonly truncated: boolean;
  /**
   * The driver cannot add another chain of the sort: the ring has fewer descriptors beside those of the
   * last `takeWritable` than the longest of its chains. More will come only when some are given back.
   */
  readonly exhausted: boolean;
  /** Descriptors read so far. A turn's budget looks at it, since a chain may have very many. */
  readonly walked: number;

  /**
   * Fills `batch` with up to `limit` chains to read from (transmit). A chain with a writable
   * descriptor, or with no more than `headerLength` bytes, is a fault and is consumed without a used
   * entry (seeds B9, C3); in order it stays, since nothing may be used past it.
   * @param skip - see `PacketBatch.skip`
   * @returns chains taken; 0 with `fault` set or not
   */
  takeReadable(batch: PacketBatch, limit: number, headerLength: number, skip: number): number;
  /**
   * Fills `batch` with up to `limit` chains to write to (receive). A chain with a readable
   * descriptor, or too short for the header, is a fault and stays.
   */
  takeWritable(batch: PacketBatch, limit: number, headerLength: number, skip: number): number;
  /**
   * Takes one chain with a request to read and, after it, room for an answer (a control queue; virtio
   * 1.2, 5.1.6.5): the readable part becomes the only chain of `request`, the writable part that of
   * `answer`; either may be empty. Complete it with `completeWritable(answer)`.
   * @returns 1, or 0 with `fault` set or not
   */
  takeExchange(request: PacketBatch, answer: PacketBatch): number;
  /** Returns the last `chains` of the last take (seed B4). */
  putBack(chains: number): void;

  /**
   * Publishes `count` chains as used, nothing written, by their heads from `first` on (seed B5); in
   * order, one used entry tells of them all.
   */
  completeReadable(heads: Uint32Array, first: number, count: number): void;
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
   * @param seen - chains that are available, were looked at and put back as too few; 0 when left out
   * @returns true when more have become available meanwhile: look again, no kick will come
   */
  enableNotifications(seen?: number): boolean;
  /**
   * Asks for a kick with whatever becomes available from now on, past what is there already: for a
   * queue that stands still after a fault and waits for the driver to do something (seed B9).
   */
  requestKick(): void;
  /** True when the driver has made nothing available that was not taken. */
  isEmpty(): boolean;

  /**
   * Logs writes there from now on (seed B8): buffers and used entries before the used index tells
   * the driver of them.
   */
  setLog(log: VirtqueueLog): void;

  /**
   * Goes on in another place: memory or ring addresses have changed under the queue (T23).
   * Throws as `VirtqueueFactory.check`; the queue must then not be used before another call that
   * does not.
   */
  relocate(table: Translator, addresses: RingAddresses): void;
}
