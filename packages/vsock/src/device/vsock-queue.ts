import { Standstill, type VhostError, type Vring, type Work, type WorkQueue } from '@rxvhost/core';

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

/** What the handlers of all three queues have in common: they run between `start` and `stop`. */
export abstract class QueueHandler implements VsockQueue {
  protected readonly standstill: Standstill;
  #running = false;

  constructor(protected readonly context: VsockQueueContext) {
    this.standstill = new Standstill((error) => context.fail(error));
  }

  get running(): boolean {
    return this.#running;
  }

  /** Whether a turn has anything to do. */
  protected get active(): boolean {
    return this.#running && !this.standstill.begun;
  }

  start(): void {
    this.#running = true;
    this.standstill.end();
    this.context.work.queue(this);
  }

  stop(): void {
    this.#running = false;
    this.context.work.cancel(this);
  }

  kicked(): void {
    this.standstill.end();
    if (this.#running) this.context.work.runOrQueue(this);
  }

  abstract run(): void;
}
