import type { Subscription } from 'rxjs';
import type { PacketSocket } from '../backend/packet-socket.js';
import { toVhostError } from '../errors/vhost-error.js';
import { PacketBatch } from '../virtqueue/packet-batch.js';
import type { Virtqueue } from '../virtqueue/virtqueue.js';
import { IdlePoll } from './idle-poll.js';
import type { NetQueue, NetQueueContext, QueueAttachment } from './net-queue.js';
import { type HandlerCounters, newHandlerCounters } from './net-statistics.js';
import { TurnBudget } from './turn-budget.js';

/** Shares of a send buffer at which to wait for it: at once, before sleeping, no longer (C4). */
const FULL = 1;
const WAIT_BEFORE_SLEEP = 3 / 4;
const STOP_WAITING = 1 / 2;

/**
 * Guest to backend (seeds C3, C4, C5, C8): takes chains, hands them to the socket in one call,
 * publishes what the socket took, puts the rest back and waits for `writable$`.
 */
export class TransmitQueue implements NetQueue {
  readonly counters: HandlerCounters;
  attachment: QueueAttachment | undefined;

  readonly #batch = new PacketBatch();
  readonly #budget = new TurnBudget();
  readonly #idle: IdlePoll;
  #writable: Subscription | undefined;
  #faulted = false;

  constructor(private readonly context: NetQueueContext) {
    this.counters = newHandlerCounters(context.vring.index, 'transmit');
    this.#idle = new IdlePoll(context.busyPollMilliseconds);
  }

  start(attachment: QueueAttachment): void {
    this.stop();
    this.attachment = attachment;
    this.#faulted = false;
    this.context.work.queue(this);
  }

  stop(): void {
    this.attachment = undefined;
    this.#stopWaiting();
    this.context.work.cancel(this);
  }

  kicked(): void {
    this.#faulted = false;
    if (this.attachment !== undefined) this.context.work.runOrQueue(this);
  }

  run(): void {
    const { attachment, context } = this;
    const { queue } = context.vring;
    if (attachment === undefined || queue === undefined || this.#faulted) return;
    const { socket } = attachment;
    const fill = socket.sendBufferFill?.() ?? 0;
    if (fill >= FULL) {
      this.#waitForRoom(socket);
      return;
    }
    if (fill < STOP_WAITING) this.#stopWaiting();
    queue.disableNotifications();
    this.#budget.begin(queue.walked);
    for (;;) {
      const outcome = this.#sendSome(attachment, queue);
      if (outcome === 'stop') return;
      if (outcome === 'empty') {
        if (this.#sleep(socket, queue)) return;
      } else if (this.#budget.isSpent(queue.walked)) {
        context.work.queue(this);
        return;
      }
    }
  }

  /** One batch from the ring to the socket. `'stop'`: nothing to do before somebody wakes us. */
  #sendSome(attachment: QueueAttachment, queue: Virtqueue): 'sent' | 'empty' | 'stop' {
    const batch = this.#batch;
    const { socket, headerLength, ownHeader } = attachment;
    const skip = ownHeader ? headerLength : 0;
    const taken = queue.takeReadable(batch, this.#budget.packets, headerLength, skip);
    if (taken === 0) {
      if (queue.fault === undefined) return 'empty';
      this.#faulted = true;
      this.context.fail(queue.fault);
      return 'stop';
    }
    this.#idle.worked();
    let sent: number;
    try {
      sent = socket.send(batch, 0);
    } catch (error) {
      queue.putBack(taken);
      this.#faulted = true;
      this.context.fail(toVhostError(error));
      return 'stop';
    }
    this.#count(attachment, sent);
    queue.completeReadable(batch, sent);
    if (sent > 0) this.context.vring.callIfWanted();
    if (sent === taken) return 'sent';
    queue.putBack(taken - sent);
    this.counters.backPressure += 1;
    this.#waitForRoom(socket);
    return 'stop';
  }

  #count(attachment: QueueAttachment, sent: number): void {
    const { counters } = this;
    const { lengths, results } = this.#batch;
    if (attachment.discarding) {
      counters.drops.disabled += sent;
      this.#budget.spend(sent, 0);
      return;
    }
    const header = attachment.headerLength;
    const unsent = attachment.ownHeader ? header : 0;
    let bytes = 0;
    let frames = 0;
    for (let frame = 0; frame < sent; frame += 1) {
      const result = results[frame] as number;
      const length = lengths[frame] as number;
      if (result < 0) {
        counters.drops.refused += 1;
        continue;
      }
      if (result < length - unsent) counters.shortWrites += 1;
      bytes += length - header;
      frames += 1;
    }
    counters.frames += frames;
    counters.bytes += bytes;
    this.#budget.spend(sent, bytes);
  }

  /** The ring is empty. True when the turn ends here, false when more came meanwhile (B7). */
  #sleep(socket: PacketSocket, queue: Virtqueue): boolean {
    if (this.#idle.goOn()) {
      this.context.work.queue(this);
      return true;
    }
    if ((socket.sendBufferFill?.() ?? 0) >= WAIT_BEFORE_SLEEP) {
      this.#waitForRoom(socket);
      return true;
    }
    if (!queue.enableNotifications()) return true;
    queue.disableNotifications();
    return false;
  }

  #waitForRoom(socket: PacketSocket): void {
    if (this.#writable !== undefined) return;
    this.#writable = socket.writable$.subscribe({
      next: () => {
        // A socket that tells how full it is decides by itself when the waiting ends.
        if (socket.sendBufferFill === undefined) this.#stopWaiting();
        this.context.work.runOrQueue(this);
      },
      error: (error: unknown) => this.context.fail(toVhostError(error)),
    });
  }

  #stopWaiting(): void {
    this.#writable?.unsubscribe();
    this.#writable = undefined;
  }
}
