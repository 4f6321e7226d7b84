import type { Subscription } from 'rxjs';
import type { PacketSocket } from '../backend/packet-socket.js';
import { IdlePoll } from '../device/idle-poll.js';
import { Standstill } from '../device/standstill.js';
import { TurnBudget } from '../device/turn-budget.js';
import { toVhostError } from '../errors/vhost-error.js';
import { PacketBatch } from '../virtqueue/packet-batch.js';
import type { Virtqueue } from '../virtqueue/virtqueue.js';
import { writeReceiveHeaders } from './net-header.js';
import type { NetQueue, NetQueueContext, QueueAttachment } from './net-queue.js';
import { type HandlerCounters, newHandlerCounters } from './net-statistics.js';

const FEWEST_CHAINS = 16;

/**
 * Backend to guest (seeds C6, C8): while the guest has buffers and the socket has frames, moves them
 * a batch at a time. Without buffers it stops listening to the socket and waits for a kick (T57);
 * without frames it listens to `readable$`, and the guest need not kick.
 *
 * A frame that needs more mergeable buffers than there are waits for them (seed C7), and so do those
 * behind it. Where the ring has no room for more it would wait for ever: then it is dropped.
 */
export class ReceiveQueue implements NetQueue {
  readonly counters: HandlerCounters;
  attachment: QueueAttachment | undefined;

  readonly #batch = new PacketBatch();
  readonly #budget = new TurnBudget();
  readonly #idle: IdlePoll;
  readonly #standstill: Standstill;
  #readable: Subscription | undefined;
  /**
   * Chains to take at a time. A take that finds one frame for 256 chains has walked 255 for
   * nothing, so the number follows the traffic.
   */
  #chains = FEWEST_CHAINS;
  /** Chains that were there, but too few for the frame that waits. */
  #tooFew = 0;

  constructor(private readonly context: NetQueueContext) {
    this.counters = newHandlerCounters(context.vring.index, 'receive');
    this.#idle = new IdlePoll(context.vring);
    this.#standstill = new Standstill((error) => context.fail(error));
  }

  start(attachment: QueueAttachment): void {
    this.stop();
    this.attachment = attachment;
    this.#standstill.end();
    this.context.work.queue(this);
  }

  stop(): void {
    this.attachment = undefined;
    this.#stopListening();
    this.context.work.cancel(this);
  }

  settled(): undefined {
    return undefined;
  }

  kicked(): void {
    this.#standstill.end();
    if (this.attachment !== undefined) this.context.work.runOrQueue(this);
  }

  run(): void {
    const { attachment, context } = this;
    if (attachment === undefined || this.#standstill.begun) return;
    const queue = context.vring.reach();
    if (queue === undefined) return;
    queue.disableNotifications();
    this.#budget.begin(queue.walked);
    for (;;) {
      const outcome = this.#receiveSome(attachment, queue);
      switch (outcome) {
        case 'received':
          if (!this.#budget.isSpent(queue.walked)) break;
          context.work.queue(this);
          return;
        case 'no frames':
          if (!this.#lookAgain()) this.#listen(attachment.socket);
          return;
        case 'no buffers':
          if (this.#lookAgain()) return;
          if (queue.enableNotifications(this.#tooFew)) {
            queue.disableNotifications();
            break;
          }
          this.counters.starved += 1;
          this.#stopListening();
          return;
        case 'fault':
          this.#stopListening();
          return;
      }
    }
  }

  #receiveSome(
    attachment: QueueAttachment,
    queue: Virtqueue,
  ): 'received' | 'no frames' | 'no buffers' | 'fault' {
    const batch = this.#batch;
    const { socket, headerLength, ownHeader } = attachment;
    const limit = Math.min(this.#chains, this.#budget.packets);
    this.#tooFew = 0;
    const taken = queue.takeWritable(batch, limit, headerLength, ownHeader ? headerLength : 0);
    if (taken === 0) {
      if (queue.fault === undefined) return 'no buffers';
      this.#standstill.begin(queue, queue.fault);
      return 'fault';
    }
    batch.chainsPerFrame = attachment.mergeable ? batch.capacity : 1;
    batch.largest = queue.truncated || taken === batch.capacity || queue.exhausted;
    let filled: number;
    try {
      filled = socket.receive(batch);
    } catch (error) {
      queue.putBack(taken);
      this.#standstill.begin(queue, toVhostError(error));
      return 'fault';
    }
    queue.putBack(taken - filled);
    this.#adapt(taken, filled);
    this.#count(attachment);
    if (batch.frameCount === 0) {
      if (batch.oversized > 0) return 'received';
      return batch.wantsMore ? this.#wantMore(queue, taken, limit) : 'no frames';
    }
    this.#idle.worked();
    writeReceiveHeaders(batch, headerLength, ownHeader);
    queue.completeWritable(batch);
    this.context.vring.callIfWanted();
    return 'received';
  }

  /** A frame needs more chains than it was given: try with more, or wait until there are more. */
  #wantMore(queue: Virtqueue, taken: number, limit: number): 'received' | 'no buffers' | 'fault' {
    if (queue.fault !== undefined) {
      // A broken chain stands between: more will not come past it.
      this.#standstill.begin(queue, queue.fault);
      return 'fault';
    }
    if (taken < limit) {
      this.#tooFew = taken;
      return 'no buffers';
    }
    this.#chains = this.#batch.capacity;
    this.#budget.spend(1, 0);
    return 'received';
  }

  /** Frames of many chains leave some over, too few for the next one: those count as filled. */
  #adapt(taken: number, filled: number): void {
    if (filled === taken || (filled > 0 && this.#batch.wantsMore))
      this.#chains = Math.min(this.#chains * 2, this.#batch.capacity);
    else if (filled * 4 < taken) this.#chains = Math.max(this.#chains >> 1, FEWEST_CHAINS);
  }

  #count(attachment: QueueAttachment): void {
    const { frameCount, frameLengths, oversized } = this.#batch;
    const inFrame = attachment.ownHeader ? 0 : attachment.headerLength;
    let bytes = 0;
    for (let frame = 0; frame < frameCount; frame += 1) {
      bytes += (frameLengths[frame] as number) - inFrame;
    }
    this.counters.frames += frameCount;
    this.counters.bytes += bytes;
    this.counters.drops.oversized += oversized;
    this.#budget.spend(frameCount + oversized, bytes);
  }

  /** Busy polling: another turn, without waking up for each frame in between as well (C14). */
  #lookAgain(): boolean {
    if (!this.#idle.goOn()) return false;
    this.#stopListening();
    this.context.work.queue(this);
    return true;
  }

  #listen(socket: PacketSocket): void {
    if (this.#readable !== undefined) return;
    this.#readable = socket.readable$.subscribe({
      next: () => this.context.work.runOrQueue(this),
      error: (error: unknown) => this.context.fail(toVhostError(error)),
    });
  }

  #stopListening(): void {
    this.#readable?.unsubscribe();
    this.#readable = undefined;
  }
}
