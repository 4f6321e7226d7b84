import { VhostError } from '@rxvhost/core';
import { closeFd } from '@rxvhost/sys';
import { type Observable, Subject, type Subscription } from 'rxjs';
import { BrokenStream, MessageChannel, type ReceivedMessage } from '../channel/message-channel.js';
import type { BackendRequests } from '../protocol/backend-requests.js';
import { FLAG_NEED_REPLY, FLAG_REPLY, type MessageHeader, VERSION } from '../protocol/header.js';
import { WrongPayloadSize } from '../protocol/layout.js';
import { requestById } from '../protocol/message-table.js';
import { U64 } from '../protocol/payloads.js';
import { dispatch, type OwnReply } from './dispatch.js';
import type { SessionReports } from './session-events.js';

const ACCEPTED = U64.encode(0n);
const NO_FDS: readonly number[] = [];

/**
 * One connected front-end. Takes its requests one at a time, in order, carries each out by its row
 * of the message table and answers it. Whatever a front-end sends can at worst end its session.
 *
 * A refused request is answered once: by an acknowledgement that holds the errno number, when the
 * front-end asked for one, or by the reply that the row has for this. A refusal that can be told
 * in neither way ends the session if the front-end waits for a reply, if it must hear of it, or if
 * the payload's size was wrong: it would hang, or go on from a state that is not ours. It is on
 * `errors$` in any case.
 */
export class BackendSession {
  readonly #channel: MessageChannel;
  readonly #ended$ = new Subject<void>();
  #reading: Subscription | undefined;
  #ended = false;

  /** Completes when the session has ended and its socket is closed. */
  readonly ended$: Observable<void> = this.#ended$;

  /**
   * @param id - the connection's number, from 1
   * @param fd - the connected, non-blocking socket; the session owns it
   */
  constructor(
    readonly id: number,
    fd: number,
    readonly requests: BackendRequests,
    readonly reports: SessionReports,
  ) {
    this.#channel = new MessageChannel(fd);
  }

  /** Begins to read. */
  start(): void {
    if (this.#ended) return;
    this.#reading = this.#channel.messages$.subscribe({
      next: (message) => this.#receive(message),
      error: (error: unknown) => this.#breakOff(error),
      complete: () => this.end(),
    });
  }

  /** Closes the connection. Later calls do nothing. */
  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#reading?.unsubscribe();
    this.#channel.close();
    this.requests.end();
    this.#ended$.complete();
  }

  /** A message that takes time, or whose answer the socket does not take yet, holds up the next. */
  #receive(message: ReceivedMessage): void {
    const unfinished = this.#handle(message);
    if (unfinished === undefined) return;
    this.#reading?.unsubscribe();
    unfinished.then(
      () => this.start(),
      (error: unknown) => this.#breakOff(error),
    );
  }

  /** Never throws: what goes wrong past answering ends the session. */
  #handle(message: ReceivedMessage): Promise<void> | undefined {
    const { header, fds } = message;
    try {
      return this.#perform(message);
    } catch (error) {
      this.#breakOff(error, header);
      return undefined;
    } finally {
      fds.closeRest();
    }
  }

  #perform(message: ReceivedMessage): Promise<void> | undefined {
    const { header } = message;
    if ((header.flags & FLAG_REPLY) !== 0) {
      throw new VhostError('EPROTO', 'a reply came where only requests are expected');
    }
    let reply: OwnReply | undefined | Promise<OwnReply | undefined>;
    try {
      reply = dispatch(message, this.requests, (payload) => this.#traceReceived(message, payload));
    } catch (error) {
      return this.#refuse(header, error);
    }
    if (!(reply instanceof Promise)) return this.#accept(header, reply);
    return reply.then(
      (done) => this.#accept(header, done),
      (error: unknown) => this.#refuse(header, error),
    );
  }

  #accept(header: MessageHeader, reply: OwnReply | undefined): Promise<void> | undefined {
    if (reply) return this.#sendWithFds(header, reply);
    return needsReply(header) ? this.#send(header, ACCEPTED) : undefined;
  }

  /** Throws the refusal on when the session cannot survive it. */
  #refuse(header: MessageHeader, cause: unknown): Promise<void> | undefined {
    if (cause instanceof BrokenStream) throw cause;
    const error = asVhostError(cause);
    const row = requestById(header.request)?.row;
    if (!row?.refusal && !row?.acknowledgement && !needsReply(header)) {
      if (row?.reply || row?.mustBeHeard || error instanceof WrongPayloadSize) throw error;
      this.#report(error, header);
      return undefined;
    }
    this.#report(error, header);
    return this.#send(header, row?.refusal?.(error) ?? refusal(error));
  }

  #sendWithFds(header: MessageHeader, { payload, fds }: OwnReply): Promise<void> | undefined {
    const close = () => {
      for (const fd of fds) closeFd(fd);
    };
    let sending: Promise<void> | undefined;
    try {
      sending = this.#send(header, payload, fds);
    } finally {
      if (sending === undefined) close();
    }
    return sending?.finally(close);
  }

  #send(
    { request }: MessageHeader,
    payload: Uint8Array,
    fds: readonly number[] = NO_FDS,
  ): Promise<void> | undefined {
    if (this.#ended) return undefined;
    if (this.reports.trace$.observed) {
      this.reports.trace$.next({
        connection: this.id,
        direction: 'sent',
        request: requestName(request),
        needReply: false,
        payload: decodeReply(request, payload),
        fds: fds.length,
      });
    }
    return this.#channel.send({ request, flags: VERSION | FLAG_REPLY }, payload, fds);
  }

  #breakOff(cause: unknown, header?: MessageHeader): void {
    if (this.#ended) return;
    const broken = cause instanceof BrokenStream ? cause : undefined;
    const error = asVhostError(broken ? broken.cause : cause);
    if (!isHangup(error)) this.#report(error, broken?.header ?? header);
    if (broken?.header && needsReply(broken.header)) {
      try {
        // One chance: should the socket not take it now, the front-end sees the end all the same.
        this.#send(broken.header, refusal(error))?.catch(() => undefined);
      } catch {
        // Nobody is left to tell.
      }
    }
    this.end();
  }

  #report(error: VhostError, header?: MessageHeader): void {
    const request = header && { request: requestName(header.request) };
    this.reports.errors$.next({ connection: this.id, ...request, error });
  }

  #traceReceived({ header, fds }: ReceivedMessage, payload: unknown): void {
    if (!this.reports.trace$.observed) return;
    this.reports.trace$.next({
      connection: this.id,
      direction: 'received',
      request: requestName(header.request),
      needReply: needsReply(header),
      payload,
      fds: fds.count,
    });
  }
}

function needsReply(header: MessageHeader): boolean {
  return (header.flags & FLAG_NEED_REPLY) !== 0;
}

function refusal(error: VhostError): Uint8Array {
  return U64.encode(BigInt(error.errno));
}

/** The other end is gone: an end like any other, not an error. */
function isHangup({ code }: VhostError): boolean {
  return code === 'EPIPE' || code === 'ECONNRESET';
}

function requestName(id: number): string {
  return requestById(id)?.name ?? `request ${id}`;
}

function decodeReply(request: number, bytes: Uint8Array): unknown {
  const codec = requestById(request)?.row.reply ?? U64;
  try {
    return codec.decode(bytes);
  } catch {
    return bytes; // a refusal where the front-end expects something else
  }
}

function asVhostError(error: unknown): VhostError {
  if (error instanceof VhostError) return error;
  return new VhostError('EIO', 'the device failed in an unforeseen way', { cause: error });
}
