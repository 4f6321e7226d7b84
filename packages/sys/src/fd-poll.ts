import { Observable, type Subscriber } from 'rxjs';
import { checkFd, failure } from './failure.js';
import { type Handle, loadNative } from './native.js';

const READABLE = 1;
const WRITABLE = 2;
/** Error reports one after the other before the fd counts as gone for good. */
const ERROR_LIMIT = 32;

type Direction = typeof READABLE | typeof WRITABLE;

/**
 * Readiness of one fd as two observables, on the event loop of the thread that made it. Subscribing
 * polls, unsubscribing stops; both may happen inside an emission. Level-triggered: it emits once a
 * turn for as long as the fd is ready.
 *
 * One `FdPoll` per fd: the loop refuses a second watcher, and the subscription fails with `EEXIST`.
 * It does not own the fd: close the poll first, then the fd (libuv ends the process when it is to
 * poll an fd that was closed). Polling makes the fd non-blocking.
 *
 * An fd in error (`EPOLLERR`: a reset connection, a tap whose interface is gone) is reported as ready
 * in both directions, so that the next read or write tells the reason. If it stays so whatever its
 * reader does, the observables complete rather than spin (hazard T42).
 */
export class FdPoll {
  /** Emits while `fd` can be read (end of stream included). Completes on {@link close}. */
  readonly readable$: Observable<void>;
  /** Emits while `fd` can be written. Completes on {@link close}. */
  readonly writable$: Observable<void>;

  readonly #native = loadNative();
  /** Held here, since the native side holds it only weakly while it does not poll. */
  readonly #onReady = (status: number, events: number): void => this.#dispatch(status, events);
  #handle: Handle<'poll'> | undefined;
  // Replaced, never changed: an emission goes over the array that was there when it began.
  #readers: readonly Subscriber<void>[] = [];
  #writers: readonly Subscriber<void>[] = [];
  #watched = 0;
  #errors = 0;
  #closed = false;
  #keepsAlive = true;

  /** @param fd - an open fd that epoll can watch; stays the caller's. Throws `EBADF` for a non-fd */
  constructor(readonly fd: number) {
    checkFd(fd, 'poll an fd');
    this.readable$ = new Observable((subscriber) => this.#subscribe(subscriber, READABLE));
    this.writable$ = new Observable((subscriber) => this.#subscribe(subscriber, WRITABLE));
  }

  /** Lets subscriptions keep the event loop, and so the process, running: the default. */
  ref(): this {
    return this.#setKeepsAlive(true);
  }

  /** Lets the process end although there are subscriptions. */
  unref(): this {
    return this.#setKeepsAlive(false);
  }

  /** Stops polling and completes both observables, once. The fd may be closed right afterwards. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    const subscribers = [...this.#readers, ...this.#writers];
    this.#readers = [];
    this.#writers = [];
    if (this.#handle !== undefined) this.#native.pollClose(this.#handle);
    this.#handle = undefined;
    for (const subscriber of subscribers) subscriber.complete();
  }

  #setKeepsAlive(keepsAlive: boolean): this {
    this.#keepsAlive = keepsAlive;
    if (this.#handle !== undefined) this.#native.pollKeepAlive(this.#handle, keepsAlive ? 1 : 0);
    return this;
  }

  #subscribe(subscriber: Subscriber<void>, direction: Direction): (() => void) | undefined {
    if (this.#closed) {
      subscriber.complete();
      return undefined;
    }
    if (direction === READABLE) this.#readers = [...this.#readers, subscriber];
    else this.#writers = [...this.#writers, subscriber];
    const result = this.#watch();
    if (result < 0) {
      this.#remove(subscriber, direction);
      subscriber.error(failure(result, `poll fd ${this.fd}`));
      return undefined;
    }
    return () => this.#remove(subscriber, direction);
  }

  #remove(subscriber: Subscriber<void>, direction: Direction): void {
    if (direction === READABLE) this.#readers = without(this.#readers, subscriber);
    else this.#writers = without(this.#writers, subscriber);
    this.#watch();
  }

  /** Polls for what there are subscribers for. Returns 0, or `-errno`. */
  #watch(): number {
    if (this.#closed) return 0;
    const wanted =
      (this.#readers.length > 0 ? READABLE : 0) | (this.#writers.length > 0 ? WRITABLE : 0);
    if (wanted === this.#watched) return 0;
    if (this.#handle === undefined) {
      const handle = this.#native.pollOpen(this.fd, this.#onReady);
      if (typeof handle === 'number') return handle;
      this.#handle = handle;
      this.#native.pollKeepAlive(handle, this.#keepsAlive ? 1 : 0);
    }
    const result = this.#native.pollWatch(this.#handle, wanted);
    if (result >= 0) this.#watched = wanted;
    return result;
  }

  #dispatch(status: number, events: number): void {
    if (status < 0) {
      this.#dispatchError();
      return;
    }
    this.#errors = 0;
    if ((events & READABLE) !== 0) emit(this.#readers);
    if ((events & WRITABLE) !== 0) emit(this.#writers);
  }

  #dispatchError(): void {
    // libuv has stopped the watcher; whoever is still subscribed afterwards starts it again.
    this.#watched = 0;
    if (this.#handle !== undefined) this.#native.pollWatch(this.#handle, 0);
    this.#errors += 1;
    if (this.#errors > ERROR_LIMIT) {
      this.close();
      return;
    }
    emit(this.#readers);
    emit(this.#writers);
    if (this.#watch() < 0) this.close();
  }
}

function emit(subscribers: readonly Subscriber<void>[]): void {
  for (const subscriber of subscribers) subscriber.next();
}

function without(
  subscribers: readonly Subscriber<void>[],
  gone: Subscriber<void>,
): readonly Subscriber<void>[] {
  return subscribers.filter((subscriber) => subscriber !== gone);
}
