import { type BigIntStats, lstatSync, unlinkSync } from 'node:fs';
import { ERRNO, VhostError } from '@rxvhost/core';
import { Observable, Subject, type Subscriber, type Subscription } from 'rxjs';
import { check, failure, WOULD_BLOCK } from './failure.js';
import { FdPoll } from './fd-poll.js';
import { loadNative } from './native.js';

/** How long to wait before accepting again after the process ran out of fds or memory. */
const RETRY_MILLISECONDS = 100;
/** Clients that may wait for a server of few connections. */
const DEFAULT_BACKLOG = 64;
/** Connections accepted in one turn, so that a storm of clients leaves room for others. */
const ACCEPTS_PER_TURN = 16;

/** Out of something: accepting can go on later, asking again at once would spin (hazard T13). */
const EXHAUSTED: ReadonlySet<number> = new Set([
  -ERRNO.EMFILE,
  -ERRNO.ENFILE,
  -ERRNO.ENOBUFS,
  -ERRNO.ENOMEM,
]);
/** What became of one client only. */
const CLIENT_GONE: ReadonlySet<number> = new Set([
  -ERRNO.ECONNABORTED,
  -ERRNO.EPERM,
  -ERRNO.EPROTO,
]);

/**
 * A Unix stream server at a path (hazard T17).
 *
 * A socket file that a dead server left there is replaced. `close` removes the file, unless
 * somebody has put another one there.
 */
export class UnixListener {
  /**
   * Emits each accepted connection: a non-blocking, close-on-exec fd that the subscriber owns.
   * Subscribing starts accepting; unsubscribing leaves clients in the backlog. One
   * subscription at a time, a second one fails with `EBUSY`. Completes on {@link close}.
   */
  readonly connections$: Observable<number>;
  /** Emits when the process is out of fds or memory and clients have to wait (hazard T13). */
  readonly errors$: Observable<VhostError>;

  readonly #native = loadNative();
  readonly #fd: number;
  readonly #poll: FdPoll;
  readonly #file: BigIntStats | undefined;
  readonly #errors = new Subject<VhostError>();
  #subscriber: Subscriber<number> | undefined;
  #polling: Subscription | undefined;
  #retry: NodeJS.Timeout | undefined;
  #closed = false;

  /**
   * @param path - at most 107 bytes. Throws `EADDRINUSE` when a server answers there, `EEXIST` for
   * a file that is no socket, `ENAMETOOLONG`, `ENOENT` (no such directory), `EACCES`
   * @param backlog - clients that may wait to be accepted; more are refused with `EAGAIN`
   */
  constructor(
    readonly path: string,
    backlog = DEFAULT_BACKLOG,
  ) {
    const result = this.#native.listenUnix(path, backlog);
    check(result, listenMessage(path, result));
    this.#fd = result;
    this.#file = lstatSync(path, { bigint: true, throwIfNoEntry: false });
    this.#poll = new FdPoll(this.#fd);
    this.errors$ = this.#errors.asObservable();
    this.connections$ = new Observable((subscriber) => this.#subscribe(subscriber));
  }

  /** Stops listening, removes the socket file if it is still ours, completes the observables. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    const subscriber = this.#subscriber;
    this.#stop();
    this.#poll.close();
    this.#removeFile();
    this.#native.close(this.#fd);
    subscriber?.complete();
    this.#errors.complete();
  }

  #subscribe(subscriber: Subscriber<number>): (() => void) | undefined {
    if (this.#closed) {
      subscriber.complete();
      return undefined;
    }
    if (this.#subscriber !== undefined) {
      subscriber.error(new VhostError('EBUSY', `${this.path} has a subscriber already`));
      return undefined;
    }
    this.#subscriber = subscriber;
    this.#start();
    return () => {
      if (this.#subscriber === subscriber) this.#stop();
    };
  }

  #start(): void {
    this.#retry = undefined;
    this.#polling = this.#poll.readable$.subscribe({
      next: () => this.#accept(),
      error: (error) => this.#subscriber?.error(error),
    });
  }

  #stop(): void {
    this.#subscriber = undefined;
    this.#polling?.unsubscribe();
    clearTimeout(this.#retry);
  }

  #accept(): void {
    for (let i = 0; i < ACCEPTS_PER_TURN && this.#subscriber !== undefined; i += 1) {
      const fd = this.#native.acceptUnix(this.#fd);
      if (fd >= 0) {
        this.#subscriber.next(fd);
      } else if (EXHAUSTED.has(fd)) {
        this.#wait(failure(fd, `accept on ${this.path}, trying again`));
        return;
      } else if (!CLIENT_GONE.has(fd)) {
        if (fd !== WOULD_BLOCK) this.#subscriber.error(failure(fd, `accept on ${this.path}`));
        return;
      }
    }
  }

  #wait(error: VhostError): void {
    this.#polling?.unsubscribe();
    this.#retry = setTimeout(() => this.#start(), RETRY_MILLISECONDS);
    this.#errors.next(error);
  }

  #removeFile(): void {
    // While our socket is open its inode number is taken: the same number is the same file.
    try {
      const now = lstatSync(this.path, { bigint: true, throwIfNoEntry: false });
      const ours = now?.ino === this.#file?.ino && now?.dev === this.#file?.dev;
      if (now !== undefined && ours) unlinkSync(this.path);
    } catch (cause) {
      this.#errors.next(new VhostError('EACCES', `remove ${this.path}`, { cause }));
    }
  }
}

function listenMessage(path: string, result: number): string {
  switch (result) {
    case -ERRNO.EADDRINUSE:
      return `listen on ${path}: another server listens there`;
    case -ERRNO.EEXIST:
      return `listen on ${path}: there is a file that is not a socket`;
    case -ERRNO.ENAMETOOLONG:
      return `listen on ${path}: a socket path has at most 107 bytes`;
    default:
      return `listen on ${path}`;
  }
}
