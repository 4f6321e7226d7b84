import type { PayloadSink } from '../carrier/packet-endpoint.js';
import { MAX_PAYLOAD } from '../protocol/limits.js';
import type { PacketHeader } from '../protocol/packet-header.js';
import type { SendCredit } from './send-credit.js';
import { SendQueue } from './send-queue.js';

/** What a connection has to send, as far as the peer has room for it. */
export class Outbox {
  readonly queue = new SendQueue();

  constructor(
    readonly credit: SendCredit,
    /** What is queued are messages, not bytes of a stream. */
    readonly messages: boolean,
  ) {}

  /** Something can be sent. */
  get sendable(): boolean {
    if (this.queue.isEmpty) return false;
    return this.credit.room > 0 || (this.messages && this.queue.emptyMessageIsNext);
  }

  /** Something waits, and the peer has no room. */
  get stalled(): boolean {
    return !this.queue.isEmpty && !this.sendable;
  }

  /** Something can be sent in a packet of at most `room` bytes. */
  fits(room: number): boolean {
    return this.sendable && (room > 0 || (this.messages && this.queue.emptyMessageIsNext));
  }

  /** Moves payload into a packet, and writes its length and flags. */
  move(header: PacketHeader, room: number, sink: PayloadSink): void {
    const { queue, credit } = this;
    const most = Math.min(room, MAX_PAYLOAD, credit.room);
    if (this.messages) {
      header.flags = queue.fragmentFlags(most);
      header.length = queue.moveFragment(most, sink);
    } else {
      header.length = queue.moveBytes(most, sink);
    }
    credit.spend(header.length);
  }
}
