import type { Observable } from 'rxjs';

/**
 * Makes an event port on the eventfd `fd`, which stays the caller's. Throws `EBADF` for an fd that is
 * not open, `EINVAL` for one that is no eventfd.
 */
export type EventPortFactory = (fd: number) => EventPort;

/**
 * A counter that one side raises and the other waits for: what an eventfd is to the kernel. Kicks,
 * calls and queue errors travel over these. `@rxvhost/sys` implements it with real eventfds,
 * {@link LocalEvent} within one process.
 */
export interface EventPort {
  /**
   * Emits once for every batch of signals; the value is how many signals it stands for.
   * Subscribing starts the poll, unsubscribing stops it. Signals raised before the subscription are
   * kept and emitted after it (seed A10, A12). Completes when the other end is gone for good.
   */
  readonly events$: Observable<number>;
  /** Raises the counter by one. Never blocks and never throws: a counter that is full stays full. */
  signal(): void;
  /** Releases what is behind the port, once; later calls do nothing. */
  close(): void;
}
