import { VhostError } from '@rxvhost/core';
import { closeFd, FdPoll, receiveBytes, receiveWithFds, sendWithFds } from '@rxvhost/sys';
import { Observable, type Subscriber } from 'rxjs';
import {
  HEADER,
  MAX_FDS,
  MAX_PAYLOAD,
  type MessageHeader,
  VERSION,
  VERSION_MASK,
} from '../protocol/header.js';
import { ReceivedFds } from './received-fds.js';

/** A whole message as it came. Whoever receives it owns the file descriptors. */
export interface ReceivedMessage {
  readonly header: MessageHeader;
  readonly payload: Uint8Array;
  readonly fds: ReceivedFds;
}

/** The stream of messages cannot be followed any further: the connection has to go. */
export class BrokenStream extends Error {
  override readonly name = 'BrokenStream';

  /** @param header - of the message at fault, where one could be read */
  constructor(
    override readonly cause: VhostError,
    readonly header?: MessageHeader,
  ) {
    super(cause.message);
  }
}

/** Messages handled in one turn of the event loop before others get theirs. */
const MESSAGES_PER_TURN = 32;

/** A message on its way out that the socket has not taken whole. */
interface Outgoing {
  readonly bytes: Uint8Array;
  readonly fds: readonly number[];
  sent: number;
}

/**
 * vhost-user messages over one connected, non-blocking Unix stream socket, which it owns.
 *
 * A read never goes past the end of the message at hand: file descriptors arrive with a header's
 * first byte, and reading ahead would give the next message's to this one. Short reads and writes
 * are legal anywhere; what has come so far is kept.
 */
export class MessageChannel {
  readonly #poll: FdPoll;
  readonly #head = new Uint8Array(HEADER.size);
  #headBytes = 0;
  #fds: number[] = [];
  #payload = new Uint8Array(0);
  #payloadBytes = 0;
  readonly #outgoing: Outgoing[] = [];
  #draining: Promise<void> | undefined;
  #closed = false;

  /**
   * Whole messages in order. One subscriber at a time: subscribing starts to read, unsubscribing
   * stops it, between two messages, and nothing is lost. Completes at the end of the stream; fails
   * with {@link BrokenStream}.
   */
  readonly messages$ = new Observable<ReceivedMessage>((subscriber) => {
    return this.#poll.readable$.subscribe({
      next: () => this.#read(subscriber),
      complete: () => subscriber.complete(),
    });
  });

  /** @param fd - the socket; from here on it belongs to the channel */
  constructor(readonly fd: number) {
    this.#poll = new FdPoll(fd);
  }

  /** True once {@link close} was called. */
  get closed(): boolean {
    return this.#closed;
  }

  /**
   * Sends one message. Returns undefined when the socket took all of it, else a promise for when
   * it has; messages go out in the order of the calls. The caller keeps `fds`, which must stay open
   * until then. Throws, or rejects with, `EPIPE` or `ECONNRESET` when nobody reads any more.
   */
  send(header: Omit<MessageHeader, 'size'>, payload: Uint8Array, fds: readonly number[] = []) {
    const bytes = new Uint8Array(HEADER.size + payload.length);
    bytes.set(HEADER.encode({ ...header, size: payload.length }));
    bytes.set(payload, HEADER.size);
    return this.sendBytes(bytes, fds);
  }

  /** Sends bytes as they are, sense or nonsense. As {@link send}. */
  sendBytes(bytes: Uint8Array, fds: readonly number[] = []): Promise<void> | undefined {
    if (this.#closed) throw new VhostError('EPIPE', 'the connection is closed');
    this.#outgoing.push({ bytes, fds, sent: 0 });
    if (this.#draining === undefined && this.#write()) return undefined;
    this.#draining ??= this.#drain();
    return this.#draining;
  }

  /** Closes the socket and everything that came and was not delivered. Later calls do nothing. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#poll.close();
    for (const fd of this.#fds) closeFd(fd);
    this.#fds = [];
    closeFd(this.fd);
  }

  #read(subscriber: Subscriber<ReceivedMessage>): void {
    try {
      for (
        let count = 0;
        count < MESSAGES_PER_TURN && !subscriber.closed && !this.#closed;
        count += 1
      ) {
        const message = this.#readMessage();
        if (message === 'later') return;
        if (message === 'end') {
          subscriber.complete();
          return;
        }
        subscriber.next(message);
      }
    } catch (error) {
      if (this.#isReset(error)) subscriber.complete();
      else subscriber.error(error instanceof VhostError ? new BrokenStream(error) : error);
    }
  }

  /** A peer that was killed with unread replies ends the stream this way rather than tidily. */
  #isReset(error: unknown): boolean {
    return this.#headBytes === 0 && error instanceof VhostError && error.code === 'ECONNRESET';
  }

  #readMessage(): ReceivedMessage | 'later' | 'end' {
    while (this.#headBytes < HEADER.size) {
      const got = this.#receiveHead();
      if (got !== 'more') return got;
      if (this.#headBytes === HEADER.size) this.#beginPayload();
    }
    while (this.#payloadBytes < this.#payload.length) {
      const got = this.#receivePayload();
      if (got !== 'more') return got;
    }
    const message = {
      header: HEADER.decode(this.#head),
      payload: this.#payload,
      fds: new ReceivedFds(this.#fds),
    };
    this.#headBytes = 0;
    this.#fds = [];
    return message;
  }

  #receiveHead(): 'more' | 'later' | 'end' {
    const room = this.#head.subarray(this.#headBytes);
    const got = receiveWithFds(this.fd, room, MAX_FDS);
    if (got === undefined) return 'later';
    this.#fds.push(...got.fds);
    if (got.bytes === 0) return this.#endOfStream();
    this.#headBytes += got.bytes;
    return 'more';
  }

  #receivePayload(): 'more' | 'later' | 'end' {
    const got = receiveBytes(this.fd, this.#payload.subarray(this.#payloadBytes));
    if (got === undefined) return 'later';
    if (got === 0) return this.#endOfStream();
    this.#payloadBytes += got;
    return 'more';
  }

  #beginPayload(): void {
    const header = HEADER.decode(this.#head);
    if ((header.flags & VERSION_MASK) !== VERSION) {
      throw new BrokenStream(
        new VhostError('EPROTO', `message ${header.request}: its version is not ${VERSION}`),
      );
    }
    if (header.size > MAX_PAYLOAD) {
      throw new BrokenStream(
        new VhostError(
          'EMSGSIZE',
          `message ${header.request}: ${header.size} bytes of payload, at most ${MAX_PAYLOAD}`,
        ),
        header,
      );
    }
    if (this.#fds.length > MAX_FDS) {
      throw new BrokenStream(
        new VhostError('EMSGSIZE', `message ${header.request}: over ${MAX_FDS} file descriptors`),
      );
    }
    this.#payload = new Uint8Array(header.size);
    this.#payloadBytes = 0;
  }

  #endOfStream(): 'end' {
    if (this.#headBytes === 0) return 'end';
    throw new BrokenStream(new VhostError('ECONNRESET', 'the stream ended within a message'));
  }

  /** Sends what it can. True when nothing is left. */
  #write(): boolean {
    for (;;) {
      const next = this.#outgoing[0];
      if (next === undefined) return true;
      const sent = sendWithFds(
        this.fd,
        next.bytes.subarray(next.sent),
        next.sent === 0 ? next.fds : [],
      );
      if (sent === undefined) return false;
      next.sent += sent;
      if (next.sent === next.bytes.length) this.#outgoing.shift();
    }
  }

  #drain(): Promise<void> {
    return new Promise((resolve, reject) => {
      const writing = this.#poll.writable$.subscribe({
        next: () => {
          try {
            if (!this.#write()) return;
          } catch (error) {
            writing.unsubscribe();
            this.#draining = undefined;
            reject(error);
            return;
          }
          writing.unsubscribe();
          this.#draining = undefined;
          resolve();
        },
        complete: () => reject(new VhostError('EPIPE', 'the connection was closed')),
      });
    });
  }
}
