import type { PacketSocket } from '../backend/packet-socket.js';
import type { Vring } from '../device/vring.js';
import type { Work, WorkQueue } from '../device/work-queue.js';
import type { VhostError } from '../errors/vhost-error.js';
import type { NetHeaderLength } from './net-header.js';
import type { HandlerCounters } from './net-statistics.js';

/** What a running queue works with; a new one for every attach. */
export interface QueueAttachment {
  readonly socket: PacketSocket;
  /** Bytes of header before each frame in guest memory. */
  readonly headerLength: NetHeaderLength;
  /** True when the device strips and supplies that header, false when the backend has it. */
  readonly ownHeader: boolean;
  /** True for a queue that runs without effects: what it sends is discarded. */
  readonly discarding: boolean;
}

/** What a queue's handler is made with. */
export interface NetQueueContext {
  readonly vring: Vring;
  readonly work: WorkQueue;
  readonly busyPollMilliseconds: number;
  /** Reports a fault of the guest's or the backend's. */
  fail(error: VhostError): void;
}

/** The handler of one virtqueue of a NIC. */
export interface NetQueue extends Work {
  readonly counters: HandlerCounters;
  readonly attachment: QueueAttachment | undefined;
  /** Begins, or goes on with another attachment; the vring's queue is attached. */
  start(attachment: QueueAttachment): void;
  /** Stands still; holds nothing of the queue or the socket when it returns. */
  stop(): void;
  /** The driver has kicked: also ends the standstill after a fault (B9). */
  kicked(): void;
}
