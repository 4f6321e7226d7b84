import type { VhostError, Vring, Work, WorkQueue } from '@rxvhost/core';

/** What the handler of a queue is made with. */
export interface VsockQueueContext {
  readonly vring: Vring;
  readonly work: WorkQueue;
  /** Reports a fault of the guest's, or of whoever is called for a packet. */
  fail(error: VhostError): void;
}

/** The handler of one virtqueue of a vsock device. */
export interface VsockQueue extends Work {
  /** True between `start` and `stop`. */
  readonly running: boolean;
  /** Begins, or goes on; the vring's queue is attached. */
  start(): void;
  /** Touches the ring no more. What was taken from it and not finished is given back. */
  stop(): void;
  /** The driver has kicked: also ends the standstill after a fault (B9). */
  kicked(): void;
}
