import { IdlePoll, PacketBatch, TurnBudget, toVhostError, type Virtqueue } from '@rxvhost/core';
import type { PacketEndpoint } from '../carrier/packet-endpoint.js';
import { HEADER_BYTES } from '../protocol/limits.js';
import { PacketHeader } from '../protocol/packet-header.js';
import { ChainWriter } from './chain-writer.js';
import type { ReceiveCounters } from './device-statistics.js';
import type { VsockQueue, VsockQueueContext } from './vsock-queue.js';

const FEWEST_CHAINS = 8;
const MOST_CHAINS = 256;

/**
 * Host to guest: fills the guest's buffers with the packets that the endpoint has, and publishes a
 * batch of them at once. Without packets it waits for `sendable$`, without buffers for a kick; it
 * never looks again in between (hazard T73).
 */
export class ReceiveQueue implements VsockQueue {
  readonly counters: ReceiveCounters = { packets: 0, bytes: 0, starved: 0 };

  readonly #batch = new PacketBatch(MOST_CHAINS);
  readonly #budget = new TurnBudget();
  readonly #idle: IdlePoll;
  readonly #writer = new ChainWriter();
  readonly #header = new PacketHeader();
  #running = false;
  #faulted = false;
  /** Chains to take at a time: follows the traffic, since what is not filled was walked for nothing. */
  #chains = FEWEST_CHAINS;

  /** @param sent - told whenever packets have gone to the guest */
  constructor(
    private readonly context: VsockQueueContext,
    private readonly endpoint: PacketEndpoint,
    private readonly sent: () => void,
  ) {
    this.#idle = new IdlePoll(context.vring);
  }

  get running(): boolean {
    return this.#running;
  }

  start(): void {
    this.#running = true;
    this.#faulted = false;
    this.context.work.queue(this);
  }

  stop(): void {
    this.#running = false;
    this.context.work.cancel(this);
  }

  kicked(): void {
    this.#faulted = false;
    if (this.#running) this.context.work.runOrQueue(this);
  }

  /** The endpoint has something to send. */
  wanted(): void {
    if (this.#running) this.context.work.queue(this);
  }

  run(): void {
    if (!this.#running || this.#faulted) return;
    const queue = this.context.vring.reach();
    if (queue === undefined) return;
    queue.disableNotifications();
    this.#budget.begin(queue.walked);
    while (this.endpoint.sendable) {
      switch (this.#sendSome(queue)) {
        case 'sent':
          if (!this.#budget.isSpent(queue.walked)) break;
          this.context.work.queue(this);
          return;
        case 'no buffers':
          if (this.#idle.goOn()) {
            this.context.work.queue(this);
            return;
          }
          if (queue.enableNotifications()) {
            queue.disableNotifications();
            break;
          }
          this.counters.starved += 1;
          return;
        case 'fault':
          return;
      }
    }
  }

  /**
   * Nothing more until the driver kicks again (B9), which it is asked to do, or until an address that
   * is missing becomes known (B10).
   */
  #standStill(queue: Virtqueue): void {
    this.#faulted = true;
    queue.requestKick();
  }

  #sendSome(queue: Virtqueue): 'sent' | 'no buffers' | 'fault' {
    const batch = this.#batch;
    const limit = Math.min(this.#chains, this.#budget.packets);
    const taken = queue.takeWritable(batch, limit, HEADER_BYTES, 0);
    if (taken === 0) {
      if (queue.fault === undefined) return 'no buffers';
      this.#standStill(queue);
      this.context.fail(queue.fault);
      return 'fault';
    }
    this.#idle.worked();
    let filled = 0;
    try {
      while (filled < taken && this.#fill(filled)) filled += 1;
    } catch (error) {
      this.context.fail(toVhostError(error));
    }
    queue.putBack(taken - filled);
    if (filled === taken) this.#chains = Math.min(this.#chains * 2, MOST_CHAINS);
    else if (filled * 4 < taken) this.#chains = Math.max(this.#chains >> 1, FEWEST_CHAINS);
    if (filled === 0) {
      // There is something to send, but not into a buffer as small as this one.
      if (!this.endpoint.sendable) return 'sent';
      this.#standStill(queue);
      return 'fault';
    }
    batch.frameCount = filled;
    queue.completeWritable(batch);
    this.context.vring.callIfWanted();
    this.sent();
    return 'sent';
  }

  /** One packet into chain `index` of the batch. False when there is none. */
  #fill(index: number): boolean {
    const batch = this.#batch;
    const header = this.#header;
    const room = (batch.lengths[index] as number) - HEADER_BYTES;
    this.#writer.begin(batch, index);
    if (!this.endpoint.next(header, room, this.#writer)) return false;
    this.#writer.writeHeader(header);
    batch.frameLengths[index] = HEADER_BYTES + header.length;
    batch.frameChains[index] = 1;
    this.counters.packets += 1;
    this.counters.bytes += header.length;
    this.#budget.spend(1, header.length);
    return true;
  }
}
