import { ShutdownFlag } from '../protocol/operation.js';
import type { PacketHeader } from '../protocol/packet-header.js';
import type { ConnectionOptions } from './connection-options.js';
import { type Inbox, type InboxFault, StreamInbox } from './inbox.js';
import { MessageInbox } from './message-inbox.js';
import { ReceiveCredit } from './receive-credit.js';
import type { ResetReason } from './statistics.js';

const RESET_FOR_FAULT: Record<InboxFault, ResetReason> = {
  overrun: 'overrun',
  'message-too-long': 'message',
  'too-many-messages': 'message',
};

/** What a connection hears: payload up to the credit that was given, and what the peer is done with. */
export class IncomingSide {
  readonly credit: ReceiveCredit;
  readonly inbox: Inbox;
  #shutdown = 0;

  constructor(messages: boolean, options: ConnectionOptions) {
    const { bufferSize, startCount, maxMessageSize } = options;
    this.credit = new ReceiveCredit(bufferSize, startCount);
    this.inbox = messages
      ? new MessageInbox(this.credit, Math.max(maxMessageSize, bufferSize))
      : new StreamInbox(this.credit);
  }

  /** The peer will send no more. */
  get peerEnded(): boolean {
    return (this.#shutdown & ShutdownFlag.SEND) !== 0;
  }

  /** The peer takes no more. */
  get peerRefuses(): boolean {
    return (this.#shutdown & ShutdownFlag.RECEIVE) !== 0;
  }

  /** The peer will send no more, and all that it sent has been taken. */
  get ended(): boolean {
    return this.peerEnded && this.inbox.isEmpty;
  }

  /** Takes payload in; why the connection must be reset where that is not possible. */
  put(header: PacketHeader, payload: readonly Uint8Array[]): ResetReason | undefined {
    const fault = this.inbox.put(header, payload);
    return fault && RESET_FOR_FAULT[fault];
  }

  /** Notes what the peer is done with; returns which of it is new. */
  shutDown(flags: number): number {
    const news = flags & ShutdownFlag.BOTH & ~this.#shutdown;
    this.#shutdown |= news;
    return news;
  }

  /** Changes the buffer's size. Throws `EINVAL`. */
  setBufferSize(bytes: number): void {
    this.credit.setAllocation(bytes);
    this.inbox.relieve();
  }
}
