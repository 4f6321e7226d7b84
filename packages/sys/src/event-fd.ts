import { type EventPort, VhostError } from '@rxvhost/core';
import { Observable, type Subscriber, type Subscription } from 'rxjs';
import { check, checkFd } from './failure.js';
import { FdPoll } from './fd-poll.js';
import { closeFd, duplicateFd, ownFd } from './files.js';
import { loadNative, type Native } from './native.js';

const BLOCKING = 1;
/** Readiness without a count, one after the other, before the eventfd counts as broken. */
const SPURIOUS_LIMIT = 32;

/**
 * An event port on the eventfd behind `fd`, through a duplicate of its own: `fd` stays the caller's.
 * Throws `EBADF` for an fd that is not open, `EINVAL` for one that is no eventfd, `EMFILE`.
 */
export function openEventFd(fd: number): EventFd {
  const own = duplicateFd(fd);
  try {
    return new EventFd(own);
  } catch (error) {
    closeFd(own);
    throw error;
  }
}

/**
 * An eventfd as an {@link EventPort}: how guests kick us and how we call them. Owns its fd.
 *
 * One subscription to `events$` at a time: the counter can be read only once, a second subscription
 * fails with `EBUSY`.
 */
export class EventFd implements EventPort {
  /** The fd, for passing on; owned by this object until {@link close}. */
  readonly fd: number;
  /**
   * Reads the counter once per readiness and emits it: how many signals came since the last one.
   * A counter above 2^53 is emitted rounded. Completes on `close`, or when the fd turns out to be
   * dead (hazard T42).
   */
  readonly events$: Observable<number>;

  readonly #native: Native;
  readonly #poll: FdPoll;
  readonly #blocks: boolean;
  #reader: Subscriber<number> | undefined;
  #open = true;

  /**
   * @param fd - an eventfd to adopt: this object owns it from now on, unless it throws. None: a new
   * one is made, non-blocking and close-on-exec. Throws `EINVAL` for an fd that is no eventfd,
   * `EBADF`, `EMFILE`
   */
  constructor(fd?: number) {
    this.#native = loadNative();
    if (fd === undefined) {
      this.fd = check(this.#native.createEventFd(), 'make an eventfd');
      this.#blocks = false;
    } else {
      checkFd(fd, 'adopt an eventfd');
      this.#blocks = check(this.#native.checkEventFd(fd), `adopt fd ${fd} as eventfd`) === BLOCKING;
      ownFd(fd);
      this.fd = fd;
    }
    this.#poll = new FdPoll(this.fd);
    this.events$ = new Observable((subscriber) => this.#subscribe(subscriber));
  }

  /** Raises the counter by one. Never blocks, never throws; after `close` it does nothing. */
  signal(): void {
    if (!this.#open) return;
    if (this.#blocks) this.#native.signalBlockingEvent(this.fd);
    else this.#native.signalEvent(this.fd);
  }

  /**
   * The signals since the last reading, which are thereby taken; 0 when there are none. Never blocks.
   * Throws `EBADF` after {@link close}.
   */
  read(): number {
    if (!this.#open) throw new VhostError('EBADF', 'read an eventfd that is closed');
    return check(this.#native.readEvent(this.fd), `read eventfd ${this.fd}`);
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#poll.close();
    this.#reader?.complete();
    this.#reader = undefined;
    this.#native.close(this.fd);
  }

  #subscribe(subscriber: Subscriber<number>): (() => void) | undefined {
    if (!this.#open) {
      subscriber.complete();
      return undefined;
    }
    if (this.#reader !== undefined) {
      subscriber.error(new VhostError('EBUSY', `eventfd ${this.fd} has a subscriber already`));
      return undefined;
    }
    this.#reader = subscriber;
    const polling = this.#startPolling(subscriber);
    return () => {
      if (this.#reader === subscriber) this.#reader = undefined;
      polling.unsubscribe();
    };
  }

  #startPolling(subscriber: Subscriber<number>): Subscription {
    let spurious = 0;
    return this.#poll.readable$.subscribe({
      next: () => {
        const count = this.#native.readEvent(this.fd);
        if (count > 0) {
          spurious = 0;
          subscriber.next(count);
          return;
        }
        // Somebody else read it, or the fd is not what it was.
        spurious += 1;
        if (count < 0 || spurious > SPURIOUS_LIMIT) subscriber.complete();
      },
      error: (error) => subscriber.error(error),
      complete: () => subscriber.complete(),
    });
  }
}
