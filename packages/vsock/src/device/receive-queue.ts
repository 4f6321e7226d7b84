import { IdlePoll, PacketBatch, TurnBudget, toVhostError, type Virtqueue } from '@rxvhost/core';
import type { PacketEndpoint } from '../carrier/packet-endpoint.js';
import { HEADER_BYTES } from '../protocol/limits.js';
import { PacketHeader } from '../protocol/packet-header.js';
import { ChainWriter } from './chain-writer.js';
import type { ReceiveCounters } from './device-statistics.js';
import { QueueHandler, type VsockQueueContext } from './vsock-queue.js';

const FEWEST_CHAINS = 8;
const MOST_CHAINS = 256;

/**
 * Host to guest: fills the guest's buffers with the packets that the endpoint has, and publishes a
 * batch of them at once. Without packets it waits for `sendable$`, without buffers for a kick; it
 * never looks again in between (hazard T73).
 */
export class ReceiveQueue extends QueueHandler {
  readonly counters: ReceiveCounters = { packets: 0, bytes: 0, starved: 0 };

  readonly #batch = new PacketBatch(MOST_CHAINS);
  readonly #budget = new TurnBudget();
  readonly #idle: IdlePoll;
  readonly #writer = new ChainWriter();
  readonly #header = new PacketHeader();
  /** Chains to take at a time: follows the traffic, since what is not filled was walked for nothing. */
  #chains = FEWEST_CHAINS;

  /** @param sent - told whenever packets have gone to the guest */
  constructor(
    context: VsockQueueContext,
    private readonly endpoint: PacketEndpoint,
    private readonly sent: () => void,
  ) {
    super(context);
    this.#idle = new IdlePoll(context.vring);
  }

  /** The endpoint has something to send. */
  wanted(): void {
    if (this.running) this.context.work.queue(this);
  }

  run(): void {
    if (!this.active) return;
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

  #sendSome(queue: Virtqueue): 'sent' | 'no buffers' | 'fault' {
    const batch = this.#batch;
    const limit = Math.min(this.#chains, this.#budget.packets);
    const taken = queue.takeWritable(batch, limit, HEADER_BYTES, 0);
    if (taken === 0) {
      if (queue.fault === undefined) return 'no buffers';
      this.standstill.begin(queue, queue.fault);
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
      this.standstill.begin(queue);
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
