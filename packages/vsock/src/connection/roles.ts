/**
 * What the parts around connections ask of one another. The endpoint makes connections; whoever uses
 * one hears of it through a {@link ConnectionUser}; whoever listens decides through a
 * {@link ConnectionRequest}.
 */
import type { VhostError } from '@rxvhost/core';

/** One end of a connection. */
export interface VsockAddress {
  /** Which machine: 2 is the host. */
  readonly cid: number;
  /** 0 to 2^32 - 2. */
  readonly port: number;
}

/** Bytes in order, or messages in order. */
export type ConnectionType = 'stream' | 'seqpacket';

/** A message of a `seqpacket` connection. */
export interface Message {
  readonly bytes: Uint8Array;
  /** The sender marked it as the end of a record (`MSG_EOR`). */
  readonly endOfRecord: boolean;
}

/** Whoever uses a connection: a stream, a relay to another socket. Called, never asked; must not throw. */
export interface ConnectionUser {
  /** The peer has accepted a connection that this side opened. */
  connected(): void;
  /** There is something to take, or the end has come, after there was nothing. */
  readable(): void;
  /** Everything sent so far has left, after `send` said to wait. */
  writable(): void;
  /** The peer takes no more: what was not sent yet is thrown away, sending fails with `EPIPE`. */
  refusing(): void;
  /**
   * The connection is over; its ports may be used again. What came before can still be taken; it
   * keeps its place among `maxConnections` until it has been, or until `abort` throws it away.
   * @param error - why, unless both sides closed it: `ECONNREFUSED`, `ECONNRESET`, `ETIMEDOUT`,
   * `EPROTO`, …
   */
  closed(error: VhostError | undefined): void;
}

/**
 * One side's half of a connection, as its user sees it. Calls never throw, but for a caller's fault
 * as said there; after the end they do nothing.
 */
export interface Connection {
  readonly type: ConnectionType;
  readonly local: VsockAddress;
  readonly remote: VsockAddress;
  /** Payload bytes received, and payload bytes handed to the carrier. */
  readonly bytesReceived: number;
  readonly bytesSent: number;
  /** Bytes of the peer's buffer, as it said last: no message can be longer. */
  readonly peerBufferSize: number;
  /** Bytes that wait to be sent. */
  readonly unsentBytes: number;
  /** Bytes that came and wait to be taken. */
  readonly untakenBytes: number;
  /** The peer sends no more, and everything it sent has been taken. */
  readonly ended: boolean;
  /** Over: nothing more is sent or received. */
  readonly closed: boolean;

  /** Who hears of this connection from now on. */
  setUser(user: ConnectionUser): void;
  /**
   * Queues bytes by reference: they must not change until `sent` was called. On a `seqpacket`
   * connection they are one message, of any length, zero included.
   * @returns false when the caller should wait for {@link ConnectionUser.writable}. Throws `EPIPE`
   * after {@link end} or when the peer takes no more, `EMSGSIZE` for a message that the peer's
   * buffer can never hold
   */
  send(bytes: Uint8Array, sent?: () => void, endOfRecord?: boolean): boolean;
  /** The next bytes of a stream that wait, in one piece; undefined when there are none. */
  take(): Uint8Array | undefined;
  /** The next whole message; undefined when there is none. */
  takeMessage(): Message | undefined;
  /** Half-closes: what is queued is still sent, then the peer hears that no more comes. */
  end(): void;
  /**
   * Closes: takes nothing in any more, sends what is queued, and ends when the peer agrees, or with
   * an RST when it has not within the time to linger.
   */
  close(): void;
  /** Ends at once with an RST; what was queued is lost. The user hears `closed(reason)`. */
  abort(reason?: VhostError): void;
  /** Bytes kept for what is received: what the peer may send before they are taken. Throws `EINVAL`. */
  setBufferSize(bytes: number): void;
}

/** A peer asks for a connection. Answer with one of the two, now or later; the other side waits. */
export interface ConnectionRequest {
  readonly type: ConnectionType;
  readonly local: VsockAddress;
  readonly remote: VsockAddress;
  /** True when the peer has given up, or the transport was reset: answering does nothing any more. */
  readonly withdrawn: boolean;
  /** Opens the connection; undefined when it was {@link withdrawn}. */
  accept(user: ConnectionUser): Connection | undefined;
  /** Answers with an RST. */
  refuse(): void;
}

/** Who decides about connections to a port. */
export interface Acceptor {
  request(request: ConnectionRequest): void;
}
