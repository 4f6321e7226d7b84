import type { VhostError } from '@rxvhost/core';
import type { BufferList } from './buffer-list.js';

/** What {@link DriverQueue.add} and {@link DriverQueue.takeUsed} answer when there is nothing. */
export const NO_CHAIN = -1;

/** Where a queue's three areas lie, as guest-physical addresses. */
export interface QueueAddresses {
  readonly descriptorTable: number;
  /** The driver's area: the available ring of a split queue, the event suppression of a packed one. */
  readonly availableRing: number;
  /** The device's area: the used ring of a split queue, the event suppression of a packed one. */
  readonly usedRing: number;
}

/** How a driver queue of either layout is made. */
export interface DriverQueueOptions {
  /** EVENT_IDX was negotiated. */
  readonly eventIndex?: boolean;
  /** IN_ORDER was negotiated: chains come back in the order in which they were added. */
  readonly inOrder?: boolean;
  /** Descriptors in each chain's indirect table; 0, the default, for none (INDIRECT_DESC not negotiated). */
  readonly indirectEntries?: number;
  /** Where the ring lies; allocated from the arena by default. */
  readonly addresses?: QueueAddresses;
}

/**
 * The driver's side of a virtqueue, whatever its layout in memory. A driver adds chains of buffers,
 * publishes them, kicks when told to, and takes back what the device has used:
 *
 * ```ts
 * const id = queue.add(buffers);              // NO_CHAIN: the ring is full
 * if (queue.publish()) kick.signal();
 * …
 * for (let id = queue.takeUsed(); id !== NO_CHAIN; id = queue.takeUsed()) reuse(id, queue.usedLength);
 * ```
 *
 * An id names one outstanding chain; it is below `size` and free again once taken back, so a plain
 * array indexed by id can hold what the driver needs to remember.
 */
export interface DriverQueue {
  /** Entries in the ring. */
  readonly size: number;
  /** Guest-physical addresses of the ring's areas. The descriptors of a packed queue are its ring. */
  readonly addresses: QueueAddresses;
  /** What a front-end sets as the base of the empty ring (SET_VRING_BASE). */
  readonly initialBase: number;
  /** Descriptors that no chain holds. */
  readonly freeDescriptors: number;
  /** Chains added and not yet taken back. */
  readonly outstanding: number;
  /** Bytes that the device says it wrote to the chain taken last. */
  readonly usedLength: number;
  /** What the device did wrong, if it did: the queue then gives nothing back until `reset`. */
  readonly fault: VhostError | undefined;

  /**
   * Adds a chain; the device sees it after {@link publish}. Does not allocate.
   * @param indirect - put the descriptors into a table of their own and use one ring entry
   * @returns the chain's id, or {@link NO_CHAIN} when there are too few descriptors now. Throws
   * `EINVAL` for a list that is empty or that could never fit
   */
  add(buffers: BufferList, indirect?: boolean): number;

  /**
   * Shows the device every chain added since the last call.
   * @returns whether the device asked for a kick
   */
  publish(): boolean;

  /** Takes one used chain back: its id, or {@link NO_CHAIN}. Sets {@link usedLength}. */
  takeUsed(): number;

  /**
   * Asks for a call once the device has used more than `after` further chains (the device may call
   * earlier). The ring is looked at again behind a full barrier.
   * @returns true when more than `after` chains are there already: take them now, no call may come
   */
  enableCallbacks(after?: number): boolean;

  /** Asks for no calls. One may still come. */
  disableCallbacks(): void;

  /** Back to an empty ring in zeroed memory, as a driver does after it has reset the device. */
  reset(): void;
}
