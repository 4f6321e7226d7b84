import { IdlePoll, PacketBatch, TurnBudget, toVhostError, type Virtqueue } from '@rxvhost/core';
import type { PacketEndpoint } from '../carrier/packet-endpoint.js';
import { HEADER_BYTES } from '../protocol/limits.js';
import { PacketHeader } from '../protocol/packet-header.js';
import { ChainReader } from './chain-reader.js';
import type { TransmitCounters } from './device-statistics.js';
import type { PacketFilter } from './packet-filter.js';
import { QueueHandler, type VsockQueueContext } from './vsock-queue.js';

/**
 * Replies that may wait for the guest before its packets have to wait for them. More than a ring has,
 * so that a guest which sends a ring full of nonsense before it looks at the answers is served.
 */
export const REPLY_LIMIT = 1024;
const PACKETS_PER_TAKE = 64;

/** Who hears where the queue begins and stops, as SET_VRING_BASE counts. */
export interface DriverWatch {
  /** Before the first packet. */
  begins(base: number): void;
  stops(base: number): void;
}

/**
 * Guest to host: takes packets from the ring, checks what a device has to check (seeds D5, D9) and
 * hands them to the endpoint.
 *
 * The ring is drained however full the other direction is: a guest that waits for its own packets to
 * leave before it reads would wait for ever otherwise (virtio 1.2, 5.10.6.4.1; hazard T73). Only
 * replies, which a hostile guest causes at will, make it wait: at {@link REPLY_LIMIT} of them it
 * stands still until the guest has taken some, without looking again in between.
 */
export class TransmitQueue extends QueueHandler {
  readonly counters: TransmitCounters = {
    packets: 0,
    bytes: 0,
    drops: { malformed: 0, spoofed: 0, misaddressed: 0 },
    replyPauses: 0,
  };

  readonly #batch = new PacketBatch(PACKETS_PER_TAKE);
  readonly #budget = new TurnBudget();
  readonly #idle: IdlePoll;
  readonly #reader = new ChainReader();
  readonly #header = new PacketHeader();
  #paused = false;
  /** It has found its ring since it was started. */
  #begun = false;
  /** Packets of the batch that the endpoint has seen, of those taken. */
  #delivered = 0;
  #taken = 0;

  constructor(
    context: VsockQueueContext,
    private readonly endpoint: PacketEndpoint,
    private readonly filter: PacketFilter,
    private readonly driver: DriverWatch,
  ) {
    super(context);
    this.#idle = new IdlePoll(context.vring);
  }

  override start(): void {
    this.#begun = false;
    super.start();
  }

  override stop(): void {
    // From within a packet's delivery this puts the rest of the batch back.
    const { queue } = this.context.vring;
    if (queue !== undefined) this.#finish(queue);
    if (this.running && this.#begun) this.driver.stops(this.context.vring.base);
    super.stop();
  }

  /** Fewer replies wait than before. */
  repliesSent(): void {
    if (this.#paused && this.#hasRoomForReplies) this.context.work.queue(this);
  }

  run(): void {
    if (!this.active) return;
    const queue = this.context.vring.reach();
    if (queue === undefined) return;
    if (!this.#begun) {
      this.#begun = true;
      this.driver.begins(queue.base);
    }
    queue.disableNotifications();
    this.#budget.begin(queue.walked);
    while (this.running) {
      if (!this.#hasRoomForReplies) {
        if (!this.#paused) this.counters.replyPauses += 1;
        this.#paused = true;
        return;
      }
      this.#paused = false;
      const limit = Math.min(this.#budget.packets, PACKETS_PER_TAKE);
      if (this.#takeSome(queue, limit)) {
        if (!this.#budget.isSpent(queue.walked)) continue;
        this.context.work.queue(this);
        return;
      }
      if (queue.fault !== undefined) {
        this.standstill.begin(queue, queue.fault);
        return;
      }
      if (this.#idle.goOn()) {
        this.context.work.queue(this);
        return;
      }
      if (!queue.enableNotifications()) return;
      queue.disableNotifications();
    }
  }

  get #hasRoomForReplies(): boolean {
    return this.endpoint.queuedReplies < REPLY_LIMIT;
  }

  /** One batch from the ring to the endpoint. False when there was none. */
  #takeSome(queue: Virtqueue, limit: number): boolean {
    const batch = this.#batch;
    const taken = queue.takeReadable(batch, limit, 0, 0);
    if (taken === 0) return false;
    this.#idle.worked();
    this.#delivered = 0;
    this.#taken = taken;
    let bytes = 0;
    while (this.#delivered < this.#taken && this.#hasRoomForReplies) {
      const index = this.#delivered;
      this.#delivered += 1;
      bytes += batch.lengths[index] as number;
      this.#deliver(index);
    }
    this.#budget.spend(this.#delivered, bytes);
    this.#finish(queue);
    return true;
  }

  /** Gives what was delivered back to the driver, and what was not to the queue. */
  #finish(queue: Virtqueue): void {
    if (this.#taken === 0) return;
    queue.putBack(this.#taken - this.#delivered);
    this.#taken = 0;
    queue.completeReadable(this.#batch.heads, 0, this.#delivered);
    this.context.vring.callIfWanted();
  }

  #deliver(index: number): void {
    const { counters } = this;
    const header = this.#header;
    const behind = (this.#batch.lengths[index] as number) - HEADER_BYTES;
    if (behind < 0) {
      counters.drops.malformed += 1;
      return;
    }
    this.#reader.readHeader(this.#batch, index, header);
    if (header.length !== behind) {
      counters.drops.malformed += 1;
      return;
    }
    if (header.sourceCid !== this.filter.guestCid) {
      counters.drops.spoofed += 1;
      return;
    }
    if (!this.filter.reaches(header.destinationCid)) {
      counters.drops.misaddressed += 1;
      return;
    }
    counters.packets += 1;
    counters.bytes += behind;
    try {
      this.endpoint.receive(header, this.#reader.payload(this.#batch, index, behind));
    } catch (error) {
      // Whoever listens has failed; the guest is served on all the same.
      this.context.fail(toVhostError(error));
    }
  }
}
