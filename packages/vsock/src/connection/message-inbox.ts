import { MessageFlag } from '../protocol/operation.js';
import type { PacketHeader } from '../protocol/packet-header.js';
import { ByteQueue } from './byte-queue.js';
import type { Inbox, InboxFault } from './inbox.js';
import type { ReceiveCredit } from './receive-credit.js';
import type { Message } from './roles.js';

/** A connection keeps at least this many messages, however small its buffer. */
const LEAST_MESSAGES = 1024;
/** Bytes of buffer for which one message more may wait: short and empty messages cost credit too little. */
const BYTES_PER_MESSAGE = 16;

/**
 * Received messages: their bytes one after the other, and where each ends. A message may come in any
 * number of packets; the one with END_OF_MESSAGE is its last, and may be empty (hazard T79).
 *
 * Credit is given back when a message is taken, as Linux does. One that is longer than the buffer
 * would then never be whole, so its bytes count as taken out while it is the only one, once little of
 * the buffer is free; `maxMessageSize` bounds them.
 */
export class MessageInbox implements Inbox {
  readonly #bytes = new ByteQueue('messages');
  /** For each whole message twice its length, plus one when it ends a record. */
  readonly #borders: number[] = [];
  #nextBorder = 0;
  /** Bytes of the message that is not whole yet. */
  #partial = 0;
  /** Bytes of the first message that were given back before it was taken. */
  #forwarded = 0;

  constructor(
    readonly credit: ReceiveCredit,
    readonly maxMessageSize: number,
  ) {}

  get length(): number {
    return this.#bytes.length;
  }

  get isEmpty(): boolean {
    return this.#whole === 0;
  }

  put(header: PacketHeader, payload: readonly Uint8Array[]): InboxFault | undefined {
    const { length, flags } = header;
    if (!this.credit.receive(length)) return 'overrun';
    if (this.#partial + length > this.maxMessageSize) return 'message-too-long';
    if (length > 0) this.#bytes.append(payload, length);
    this.#partial += length;
    if ((flags & MessageFlag.END_OF_MESSAGE) !== 0) return this.#end(flags);
    this.relieve();
    return undefined;
  }

  relieve(): void {
    if (this.#whole > 0 || !this.credit.nearlyFull) return;
    this.credit.forward(this.#partial - this.#forwarded);
    this.#forwarded = this.#partial;
  }

  take(): undefined {
    return undefined;
  }

  takeMessage(): Message | undefined {
    if (this.#whole === 0) return undefined;
    const border = this.#borders[this.#nextBorder] as number;
    this.#nextBorder += 1;
    if (this.#nextBorder === this.#borders.length) {
      this.#borders.length = 0;
      this.#nextBorder = 0;
    } else if (this.#nextBorder === LEAST_MESSAGES) {
      this.#borders.splice(0, LEAST_MESSAGES);
      this.#nextBorder = 0;
    }
    const length = Math.floor(border / 2);
    this.credit.forward(length - this.#forwarded);
    this.#forwarded = 0;
    const bytes = this.#bytes.take(length);
    this.relieve();
    return { bytes, endOfRecord: border % 2 === 1 };
  }

  discard(): void {
    this.credit.forward(this.#bytes.length - this.#forwarded);
    this.#bytes.clear();
    this.#borders.length = 0;
    this.#nextBorder = 0;
    this.#partial = 0;
    this.#forwarded = 0;
  }

  get #whole(): number {
    return this.#borders.length - this.#nextBorder;
  }

  #end(flags: number): InboxFault | undefined {
    const most = Math.max(LEAST_MESSAGES, this.credit.allocation / BYTES_PER_MESSAGE);
    if (this.#whole >= most) return 'too-many-messages';
    this.#borders.push(2 * this.#partial + ((flags & MessageFlag.END_OF_RECORD) !== 0 ? 1 : 0));
    this.#partial = 0;
    return undefined;
  }
}
