import type { PacketSocket } from '../backend/packet-socket.js';
import type { Vring } from '../device/vring.js';
import type { Work, WorkQueue } from '../device/work-queue.js';
import type { VhostError } from '../errors/vhost-error.js';
import type { GuestMemory } from '../memory/guest-memory.js';
import type { NetHeaderLength } from './net-header.js';
import type { HandlerCounters } from './net-statistics.js';
import type { SocketLayer } from './offload/socket-layer.js';

/** What a running queue works with; a new one for every attach. */
export interface QueueAttachment {
  /** What the queue sends to and receives from: the backend, or a layer over it. */
  readonly socket: PacketSocket;
  /** The backend itself. */
  readonly backend: PacketSocket;
  /** The layer, where there is one; released when the queue stops. */
  readonly layer: SocketLayer | undefined;
  /** Bytes of header before each frame in guest memory. */
  readonly headerLength: NetHeaderLength;
  /** True when the device strips and supplies that header, false when the backend has it. */
  readonly ownHeader: boolean;
  /** True for a queue that runs without effects: what it sends is discarded. */
  readonly discarding: boolean;
  /** True for a receive queue that the driver does not use now: it is given nothing. */
  readonly unused: boolean;
  /** True when a received frame may fill several chains (VIRTIO_NET_F_MRG_RXBUF). */
  readonly mergeable: boolean;
}

/** What a queue's handler is made with. */
export interface NetQueueContext {
  readonly vring: Vring;
  readonly memory: GuestMemory;
  readonly work: WorkQueue;
  /** Whether frames may be sent by reference (seed C11). */
  readonly zeroCopy: boolean;
  /** How long to wait for outstanding frames before they are given up, in milliseconds. */
  readonly drainMilliseconds: number;
  /** Reports a fault of the guest's or the backend's. */
  fail(error: VhostError): void;
}

/** The handler of one virtqueue of a NIC. */
export interface NetQueue extends Work {
  readonly counters: HandlerCounters;
  readonly attachment: QueueAttachment | undefined;
  /** Begins, or goes on with another attachment; the vring's queue is attached. */
  start(attachment: QueueAttachment): void;
  /** Takes nothing more. What is outstanding in the socket still comes back: see `settled`. */
  stop(): void;
  /**
   * Resolves when nothing is outstanding in a socket that was attached before, or was given up; until
   * then the vring must stay attached (C13). Undefined when nothing is.
   */
  settled(): Promise<void> | undefined;
  /** The driver has kicked: also ends the standstill after a fault (B9). */
  kicked(): void;
}
