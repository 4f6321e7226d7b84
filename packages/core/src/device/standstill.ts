import type { VhostError } from '../errors/vhost-error.js';
import { IotlbMiss } from '../memory/translator.js';
import type { Virtqueue } from '../virtqueue/virtqueue.js';

/**
 * Whether a queue's handler stands still after a fault: it does nothing more until the driver kicks
 * again (seed B9), which it is asked to do, or until an address that is missing becomes known (B10),
 * which needs no kick.
 */
export class Standstill {
  #begun = false;

  /** @param fail - reports a fault */
  constructor(private readonly fail: (error: VhostError) => void) {}

  /** True until somebody ends it. */
  get begun(): boolean {
    return this.#begun;
  }

  /** @param error - what is wrong, unless it was reported already */
  begin(queue: Virtqueue, error?: VhostError): void {
    this.#begun = true;
    if (!(error instanceof IotlbMiss)) queue.requestKick();
    if (error !== undefined) this.fail(error);
  }

  end(): void {
    this.#begun = false;
  }
}
