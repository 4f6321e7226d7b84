import { VhostError } from '@rxvhost/core';
import { connectUnix } from '@rxvhost/sys';
import { map, type Observable, retry, Subject, timer } from 'rxjs';

const FIRST_DELAY = 10;
const LONGEST_DELAY = 500;
/** What a path says whose front-end has not come yet, or has gone: no reason to tell anybody. */
const NOBODY_THERE: readonly string[] = ['ENOENT', 'ECONNREFUSED', 'EAGAIN'];

/**
 * Meets front-ends that listen themselves (DPDK's virtio-user with `server=1`, QEMU's chardev with
 * `server=on`): tries to connect until somebody is there, at intervals of up to half a second. Takes
 * the place of a `UnixListener`.
 */
export class FrontendDialer {
  /** Subscribe to connect; emits the fd of the connection, which is the subscriber's, and ends. */
  readonly connections$: Observable<number>;
  /** Why connecting fails, where that is more than that nobody is there yet. */
  readonly errors$: Observable<VhostError>;

  readonly #errors = new Subject<VhostError>();
  #reported: string | undefined;

  /** @param path - where the front-end listens, at most 107 bytes */
  constructor(path: string) {
    this.errors$ = this.#errors.asObservable();
    this.connections$ = timer(FIRST_DELAY).pipe(
      map(() => connectUnix(path)),
      retry({
        delay: (error: unknown, tries) => {
          this.#report(error);
          return timer(Math.min(FIRST_DELAY * 2 ** Math.min(tries, 10), LONGEST_DELAY));
        },
      }),
    );
  }

  close(): void {
    this.#errors.complete();
  }

  /** Each reason once, not at every try. */
  #report(error: unknown): void {
    if (!(error instanceof VhostError)) throw error;
    if (error.code === this.#reported || NOBODY_THERE.includes(error.code)) return;
    this.#reported = error.code;
    this.#errors.next(error);
  }
}
