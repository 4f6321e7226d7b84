import type { DriverQueue, GuestMemoryArena } from '../../src/index.js';

export interface ModelBuffer {
  readonly address: number;
  readonly length: number;
  readonly writable: boolean;
}

export interface ModelChain {
  /** The driver's id of the chain. */
  readonly id: number;
  /** Ring descriptors that the chain holds. */
  readonly descriptors: number;
  readonly buffers: readonly ModelBuffer[];
}

/**
 * A device's side of a queue, written from virtio 1.2 for these tests alone: slow, plain, and without
 * a line of `@rxvhost/core`, so that driver and device are not wrong in the same way.
 */
export interface ModelDevice {
  readonly arena: GuestMemoryArena;
  readonly queue: DriverQueue;
  /** Whether a chain waits that was published and not taken. */
  readonly waiting: boolean;
  take(): ModelChain;
  /** Publishes one used entry. True when the driver must be called. */
  complete(chain: ModelChain, written: number): boolean;
  /** Publishes one used entry for several chains, the last of which has `written` bytes (IN_ORDER). */
  completeBatch(chains: readonly ModelChain[], written: number): boolean;
  /** Asks to be kicked for the next chain that becomes available, or for none. */
  wantKicks(wanted: boolean): void;
}
