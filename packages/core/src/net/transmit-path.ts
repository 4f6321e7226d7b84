import type { PacketSocket } from '../backend/packet-socket.js';
import type { PacketBatch } from '../virtqueue/packet-batch.js';
import type { Virtqueue } from '../virtqueue/virtqueue.js';

/**
 * How frames get from a transmit queue to one socket: copied out within the call, or by reference.
 * Chosen once, when the socket is attached, so that the plain way has no branches for the other.
 */
export interface TransmitPath {
  readonly socket: PacketSocket;
  /** Frames sent by reference that are not published yet. */
  readonly unpublished: number;
  /**
   * Sends the batch's frames in order, and publishes those that are done with.
   * @returns how many were disposed of; the rest is to be put back
   */
  send(queue: Virtqueue, batch: PacketBatch): number;
  /** True when the last `send` stopped for frames outstanding, not for a full socket. */
  readonly waitsForCompletions: boolean;
  /** Publishes frames that have completed meanwhile, in order; false when there are none. */
  reap(queue: Virtqueue): boolean;
  /** Sends nothing by reference any more. Resolves when all has completed, or was given up. */
  drain(): Promise<void> | undefined;
}

/** The plain way: the socket is done with a frame when `send` returns. */
export class CopyingPath implements TransmitPath {
  readonly unpublished = 0;
  readonly waitsForCompletions = false;

  constructor(readonly socket: PacketSocket) {}

  send(queue: Virtqueue, batch: PacketBatch): number {
    const sent = this.socket.send(batch, 0);
    queue.completeReadable(batch.heads, 0, sent);
    return sent;
  }

  reap(): boolean {
    return false;
  }

  drain(): undefined {
    return undefined;
  }
}
