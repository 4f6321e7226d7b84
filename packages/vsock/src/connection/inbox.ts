/**
 * What a connection has received and its user has not taken yet. Streams keep bytes, message
 * connections keep bytes and the borders between them; both are bounded by the credit that was
 * given, whatever a peer sends.
 */
import type { PacketHeader } from '../protocol/packet-header.js';
import { ByteQueue } from './byte-queue.js';
import type { ReceiveCredit } from './receive-credit.js';
import type { Message } from './roles.js';

/** Why a packet was not taken in; each ends its connection. */
export type InboxFault = 'overrun' | 'message-too-long' | 'too-many-messages';

/** Received payload that waits to be taken. */
export interface Inbox {
  /** Bytes that wait. */
  readonly length: number;
  /** Nothing can be taken now. */
  readonly isEmpty: boolean;
  /** Takes a packet's payload in. */
  put(header: PacketHeader, payload: readonly Uint8Array[]): InboxFault | undefined;
  /** The next bytes of a stream. */
  take(): Uint8Array | undefined;
  /** The next whole message. */
  takeMessage(): Message | undefined;
  /** Gives credit back early where the peer could otherwise never send the rest of a message. */
  relieve(): void;
  /** Throws everything away, as if it had been taken. */
  discard(): void;
}

/** Received bytes of a stream. */
export class StreamInbox implements Inbox {
  readonly #bytes = new ByteQueue('bytes');

  constructor(readonly credit: ReceiveCredit) {}

  get length(): number {
    return this.#bytes.length;
  }

  get isEmpty(): boolean {
    return this.#bytes.length === 0;
  }

  put(header: PacketHeader, payload: readonly Uint8Array[]): InboxFault | undefined {
    const { length } = header;
    if (!this.credit.receive(length)) return 'overrun';
    if (length > 0) this.#bytes.append(payload, length);
    return undefined;
  }

  take(): Uint8Array | undefined {
    const piece = this.#bytes.takePiece();
    if (piece !== undefined) this.credit.forward(piece.length);
    return piece;
  }

  takeMessage(): undefined {
    return undefined;
  }

  relieve(): void {}

  discard(): void {
    this.credit.forward(this.#bytes.length);
    this.#bytes.clear();
  }
}
