import type { EventPort } from '@rxvhost/core';
import { interval, map, type Observable, Subject, takeUntil } from 'rxjs';

/** Milliseconds between two looks at a ring whose front-end sends no kicks. */
export const POLL_INTERVAL = 1;

/**
 * Stands in for the kick of a ring that came without one (SET_VRING_KICK with bit 8): the back-end
 * has to look for itself. A timer rather than every turn of the event loop, so that an idle ring
 * costs next to nothing; a busy one goes on in turns of its own until it is empty.
 */
export class PollingPort implements EventPort {
  readonly #closed$ = new Subject<void>();
  readonly events$: Observable<number>;

  /** @param milliseconds - between two looks, at least 1 */
  constructor(milliseconds = POLL_INTERVAL) {
    this.events$ = interval(milliseconds).pipe(
      map(() => 1),
      takeUntil(this.#closed$),
    );
  }

  signal(): void {}

  close(): void {
    this.#closed$.next();
    this.#closed$.complete();
  }
}
