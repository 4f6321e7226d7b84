import type { Subscription } from 'rxjs';
import type { PacketSocket } from '../backend/packet-socket.js';
import { IdlePoll } from '../device/idle-poll.js';
import { Standstill } from '../device/standstill.js';
import { TurnBudget } from '../device/turn-budget.js';
import { ERRNO, toVhostError, VhostError } from '../errors/vhost-error.js';
import { PacketBatch } from '../virtqueue/packet-batch.js';
import type { Virtqueue } from '../virtqueue/virtqueue.js';
import type { NetQueue, NetQueueContext, QueueAttachment } from './net-queue.js';
import { type HandlerCounters, newHandlerCounters } from './net-statistics.js';
import { CopyingPath, type TransmitPath } from './transmit-path.js';
import { ZeroCopyPath } from './zero-copy-path.js';

/** Shares of a send buffer at which to wait for it: at once, before sleeping, no longer (C4). */
const FULL = 1;
const WAIT_BEFORE_SLEEP = 3 / 4;
const STOP_WAITING = 1 / 2;
/** The result of a frame that does not fit its virtio-net header. */
const MALFORMED = -ERRNO.EBADMSG;

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
  readonly #standstill: Standstill;
  #path: TransmitPath | undefined;
  /** Paths of sockets that were detached while frames were outstanding in them. */
  #leaving: TransmitPath[] = [];
  #writable: Subscription | undefined;
  /** How full the socket's send buffer was when it was asked last; whether to ask again. */
  #fill = 0;
  #askFill = true;

  constructor(private readonly context: NetQueueContext) {
    this.counters = newHandlerCounters(context.vring.index, 'transmit');
    this.#idle = new IdlePoll(context.vring);
    this.#standstill = new Standstill((error) => context.fail(error));
  }

  start(attachment: QueueAttachment): void {
    if (this.#path?.socket !== attachment.socket) {
      this.#leave();
      this.#path = this.#pathTo(attachment.socket);
    }
    this.#stopWaiting();
    this.attachment = attachment;
    this.#standstill.end();
    this.#askFill = true;
    this.context.work.queue(this);
  }

  stop(): void {
    this.attachment = undefined;
    this.#stopWaiting();
    this.#leave();
    this.#reap();
    if (this.#leaving.length === 0) this.context.work.cancel(this);
  }

  settled(): Promise<void> | undefined {
    if (this.#leaving.length === 0) return undefined;
    const leaving = [...this.#leaving];
    return Promise.all(leaving.map((path) => path.drain())).then(() => {
      this.#reap();
      if (this.attachment === undefined) this.#giveUp(leaving);
    });
  }

  /**
   * What has completed and still cannot be published never will be: the front-end, which alone can
   * tell where the ring is, waits for this queue to stop (B10, T16). A path that was left later may
   * have frames outstanding, and has a wait of its own.
   */
  #giveUp(paths: readonly TransmitPath[]): void {
    const left = this.#leaving.filter((path) => paths.includes(path));
    const lost = left.reduce((sum, path) => sum + path.unpublished, 0);
    this.#leaving = this.#leaving.filter((path) => !paths.includes(path));
    if (lost === 0) return;
    const what = `${lost} frames were sent and cannot be given back: the ring is not mapped`;
    this.context.fail(new VhostError('EFAULT', what));
  }

  #pathTo(socket: PacketSocket): TransmitPath {
    const { zeroCopy } = socket;
    if (zeroCopy === undefined || !this.context.zeroCopy) return new CopyingPath(socket);
    const { capacity } = this.#batch;
    return new ZeroCopyPath(socket, zeroCopy, this.context, this.counters, capacity, () =>
      this.context.work.queue(this),
    );
  }

  /** Sends nothing more on the path as it is; what is outstanding there is still published. */
  #leave(): void {
    const path = this.#path;
    this.#path = undefined;
    if (path === undefined) return;
    const drained = path.drain();
    if (drained === undefined && path.unpublished === 0) return;
    this.#leaving.push(path);
    this.context.work.queue(this);
    // Completions wake the handler; giving up on those that never come does not.
    void drained?.then(() => {
      const givenUp = path.unpublished === 0 && this.#leaving.includes(path);
      if (givenUp && this.attachment !== undefined) this.context.work.queue(this);
    });
  }

  /** Publishes what has completed on any path, in the order of each. */
  #reap(): void {
    const { queue } = this.context.vring;
    if (queue === undefined) return;
    let any = this.#path?.reap(queue) ?? false;
    if (this.#leaving.length > 0) {
      for (const path of this.#leaving) any = path.reap(queue) || any;
      this.#leaving = this.#leaving.filter((path) => path.unpublished > 0);
    }
    if (any) this.context.vring.callIfWanted();
  }

  kicked(): void {
    this.#standstill.end();
    this.#askFill = true;
    if (this.attachment !== undefined) this.context.work.runOrQueue(this);
  }

  run(): void {
    const { attachment, context } = this;
    const path = this.#path;
    const queue = context.vring.reach();
    this.#reap();
    if (attachment === undefined || path === undefined || queue === undefined) return;
    if (this.#standstill.begun) return;
    // In order, nothing may be published before what is still out on a path that was left.
    if (queue.inOrder && this.#leaving.length > 0) return;
    const { socket } = attachment;
    const fill = this.#fillOf(socket);
    if (fill >= FULL) {
      this.#waitForRoom(socket);
      return;
    }
    if (fill < STOP_WAITING) this.#stopWaiting();
    queue.disableNotifications();
    this.#budget.begin(queue.walked);
    for (;;) {
      const outcome = this.#sendSome(attachment, path, queue);
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
  #sendSome(
    attachment: QueueAttachment,
    path: TransmitPath,
    queue: Virtqueue,
  ): 'sent' | 'empty' | 'stop' {
    const batch = this.#batch;
    const { socket, headerLength, ownHeader } = attachment;
    const skip = ownHeader ? headerLength : 0;
    const taken = queue.takeReadable(batch, this.#budget.packets, headerLength, skip);
    if (taken === 0) {
      if (queue.fault === undefined) return 'empty';
      this.#standstill.begin(queue, queue.fault);
      return 'stop';
    }
    this.#idle.worked();
    let sent: number;
    try {
      sent = path.send(queue, batch);
    } catch (error) {
      queue.putBack(taken);
      this.#standstill.begin(queue, toVhostError(error));
      return 'stop';
    }
    this.#count(attachment, sent);
    this.#askFill = true;
    if (sent > 0) this.context.vring.callIfWanted();
    if (sent === taken) return 'sent';
    queue.putBack(taken - sent);
    if (path.waitsForCompletions) return 'stop';
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
        if (result === MALFORMED) counters.drops.malformed += 1;
        else counters.drops.refused += 1;
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
    if (this.#fillOf(socket) >= WAIT_BEFORE_SLEEP) {
      this.#waitForRoom(socket);
      return true;
    }
    if (!queue.enableNotifications()) return true;
    queue.disableNotifications();
    return false;
  }

  /** Asking costs a system call: not for every idle look, when the buffer can only get emptier. */
  #fillOf(socket: PacketSocket): number {
    if (socket.sendBufferFill === undefined) return 0;
    if (this.#askFill || this.#fill >= STOP_WAITING) {
      this.#fill = socket.sendBufferFill();
      this.#askFill = false;
    }
    return this.#fill;
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
