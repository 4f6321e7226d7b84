import { errnoName, VhostError } from '@rxvhost/core';
import { type Observable, Subject, type Subscription } from 'rxjs';
import { BrokenStream, MessageChannel, type ReceivedMessage } from '../channel/message-channel.js';
import { protocolFeatures } from '../protocol/features.js';
import { FLAG_NEED_REPLY, FLAG_REPLY, VERSION } from '../protocol/header.js';
import type { Message } from '../protocol/message.js';
import {
  MESSAGES,
  type PayloadOf,
  type ReplyOf,
  type RequestName,
} from '../protocol/message-table.js';
import { U64 } from '../protocol/payloads.js';
import type { RawRequest } from './frontend-requests.js';

/** What came back: the reply's payload, and the file descriptors beside it. */
type Answer = Pick<ReceivedMessage, 'payload' | 'fds'>;

/** Somebody waits for the answer to this. */
interface Waiting {
  readonly request: number;
  /** Takes what it wants of the file descriptors at once. */
  resolve(answer: Answer): void;
  reject(error: VhostError): void;
}

/**
 * A front-end's connection: requests, typed by the message table, and their answers. Requests may be
 * sent without waiting for one another; answers come in order.
 */
export class RequestConnection {
  readonly #channel: MessageChannel;
  readonly #waiting: Waiting[] = [];
  readonly #closed$ = new Subject<void>();
  readonly #reading: Subscription;
  protected acceptedProtocolFeatures = 0n;

  /** Completes when either side has closed the connection. */
  readonly closed$: Observable<void> = this.#closed$;

  /** @param fd - a connected, non-blocking Unix stream socket; the client owns it from here on */
  constructor(fd: number) {
    this.#channel = new MessageChannel(fd);
    this.#reading = this.#channel.messages$.subscribe({
      next: (message) => this.#receive(message),
      error: (error: unknown) => this.#fail(error instanceof BrokenStream ? error.cause : hungUp()),
      complete: () => this.#fail(hungUp()),
    });
  }

  /** Protocol features that were set with `handshake`. */
  get protocolFeatures(): bigint {
    return this.acceptedProtocolFeatures;
  }

  /** True once either side has closed the connection. */
  get closed(): boolean {
    return this.#channel.closed;
  }

  /**
   * Sends a request and resolves with its reply. One without a reply of its own resolves when the
   * back-end has acknowledged it, or, where REPLY_ACK was not negotiated, when it is sent.
   *
   * Rejects with the back-end's errno where it refused, `ECONNRESET` when it went away, `EPROTO`
   * when it answered something else. The caller keeps `fds`.
   */
  async request<N extends RequestName>(
    name: N,
    payload: PayloadOf<N>,
    fds: readonly number[] = [],
  ): Promise<ReplyOf<N>> {
    const row = MESSAGES[name] as Message<PayloadOf<N>, ReplyOf<N>>;
    const bytes = row.payload.encode(payload);
    if (row.reply) {
      const message = { request: row.id, payload: bytes, fds, expectReply: true };
      return this.#ask(message, (answer) => readReply(name, row, answer)) as Promise<ReplyOf<N>>;
    }
    const acknowledged = (this.acceptedProtocolFeatures & protocolFeatures('REPLY_ACK')) !== 0n;
    const answer = await this.exchange({
      request: row.id,
      flags: acknowledged ? VERSION | FLAG_NEED_REPLY : VERSION,
      payload: bytes,
      fds,
      expectReply: acknowledged,
    });
    if (answer) checkAcknowledgement(name, answer);
    return undefined as ReplyOf<N>;
  }

  /**
   * Sends any message at all and resolves with the reply's payload, undefined when none is expected.
   * For tests, and for requests that the table does not have.
   */
  exchange(message: RawRequest): Promise<Uint8Array | undefined> {
    return this.#ask(message, ({ payload }) => payload);
  }

  async #ask<T>(message: RawRequest, read: (answer: Answer) => T): Promise<T | undefined> {
    const { request, flags = VERSION, payload = new Uint8Array(0), fds, expectReply } = message;
    const sent = this.#channel.send({ request, flags }, payload, fds);
    const answer = expectReply ? this.#answerTo(request, read) : undefined;
    await Promise.all([sent, answer]);
    return answer;
  }

  /** Sends bytes that need not be a message. For tests. */
  async sendBytes(bytes: Uint8Array, fds?: readonly number[]): Promise<void> {
    await this.#channel.sendBytes(bytes, fds);
  }

  /** Closes the connection. Whatever still waits is rejected. Later calls do nothing. */
  close(): void {
    this.#fail(new VhostError('ECONNABORTED', 'the front-end closed the connection'));
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #answerTo<T>(request: number, read: (answer: Answer) => T): Promise<T> {
    return new Promise((resolve, reject) => {
      // Read here rather than by who waits: the file descriptors have an owner when this returns.
      const receive = (answer: Answer): void => {
        try {
          resolve(read(answer));
        } catch (error) {
          reject(error);
        }
      };
      this.#waiting.push({ request, resolve: receive, reject });
    });
  }

  #receive({ header, payload, fds }: ReceivedMessage): void {
    const waiting = this.#waiting.shift();
    const isReply = (header.flags & FLAG_REPLY) !== 0;
    if (waiting && isReply && header.request === waiting.request) {
      waiting.resolve({ payload, fds });
      fds.closeRest();
      return;
    }
    fds.closeRest();
    const error = new VhostError('EPROTO', `nobody asked for message ${header.request}`);
    waiting?.reject(error);
    this.#fail(error);
  }

  #fail(error: VhostError): void {
    if (this.#channel.closed) return;
    this.#reading.unsubscribe();
    this.#channel.close();
    for (const { reject } of this.#waiting.splice(0)) reject(error);
    this.#closed$.complete();
  }
}

/** Decodes a reply, with the file descriptors that belong to it. */
function readReply<Payload, Reply>(
  name: string,
  { reply, refusal, replyFds }: Message<Payload, Reply>,
  { payload, fds }: Answer,
): Reply | undefined {
  if (refusal && payload.length === 0) {
    throw new VhostError('EIO', `${name}: the back-end refused`);
  }
  const decoded = reply?.decode(payload);
  return decoded !== undefined && replyFds ? replyFds.complete(decoded, fds) : decoded;
}

function checkAcknowledgement(name: string, answer: Uint8Array): void {
  const code = U64.decode(answer);
  if (code === 0n) return;
  throw new VhostError(errnoName(Number(code)), `${name}: the back-end refused`);
}

function hungUp(): VhostError {
  return new VhostError('ECONNRESET', 'the back-end closed the connection');
}
