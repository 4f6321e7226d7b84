import { VhostError } from '../errors/vhost-error.js';
import type { ControlQueue } from './control/control-queue.js';
import { ControlQueues } from './control/control-queues.js';
import type { ControlledNic } from './control/controlled-nic.js';
import type { NetQueue, NetQueueContext } from './net-queue.js';
import { ReceiveQueue } from './receive-queue.js';
import { TransmitQueue } from './transmit-queue.js';

/** The handlers of a NIC's queues: pairs of receive and transmit, and a control queue where it is. */
export class NetQueues {
  /** Those that move frames, by index. */
  readonly pairs: readonly NetQueue[];
  readonly #control: ControlQueues;

  /** @param contexts - of every vring: two for each pair, one more for a NIC with a control queue */
  constructor(nic: ControlledNic, contexts: readonly NetQueueContext[]) {
    const frames = 2 * nic.pairs;
    this.pairs = contexts
      .slice(0, frames)
      .map((context) =>
        context.vring.index % 2 === 0 ? new ReceiveQueue(context) : new TransmitQueue(context),
      );
    this.#control = new ControlQueues(nic, contexts.length > frames ? contexts : []);
  }

  /** The control queue's handler; undefined where none was negotiated. */
  get control(): ControlQueue | undefined {
    return this.#control.active;
  }

  /** All that can be used with the negotiated features. */
  get all(): readonly NetQueue[] {
    return this.control === undefined ? this.pairs : [...this.pairs, this.control];
  }

  /** Those that run, but are not their vring's with the features that are negotiated now. */
  get misplaced(): readonly NetQueue[] {
    return [...this.pairs, ...this.#control.all].filter(
      (queue) => queue.attachment !== undefined && this.find(queue.counters.queue) !== queue,
    );
  }

  /** Queue `index`'s handler; undefined where there is none with the negotiated features. */
  find(index: number): NetQueue | undefined {
    return this.#control.at(index) ?? this.pairs[index];
  }

  /** As {@link find}, but throws `ENOBUFS` where there is none. */
  at(index: number): NetQueue {
    const queue = this.find(index);
    if (queue === undefined) throw new VhostError('ENOBUFS', `there is no queue ${index}`);
    return queue;
  }
}
