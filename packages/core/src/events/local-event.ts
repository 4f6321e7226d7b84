import { Observable, type Subscriber } from 'rxjs';
import type { EventPort } from './event-port.js';
import { EventLoopTurns, type TurnScheduler } from './turn-scheduler.js';

/**
 * An {@link EventPort} within one process, with an eventfd's manners: signals add up until the
 * reader looks, and the reader hears of them in a later turn, never inside `signal()`.
 */
export class LocalEvent implements EventPort {
  #pending = 0;
  #scheduled = false;
  #closed = false;
  #reader: Subscriber<number> | undefined;

  readonly events$ = new Observable<number>((subscriber) => {
    if (this.#closed) {
      subscriber.complete();
      return undefined;
    }
    this.#reader = subscriber;
    this.#wake();
    return () => {
      if (this.#reader === subscriber) this.#reader = undefined;
    };
  });

  constructor(readonly turns: TurnScheduler = new EventLoopTurns()) {}

  /** Signals raised and not yet emitted. */
  get pending(): number {
    return this.#pending;
  }

  signal(): void {
    if (this.#closed) return;
    this.#pending += 1;
    this.#wake();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#pending = 0;
    this.#reader?.complete();
    this.#reader = undefined;
  }

  #wake(): void {
    if (this.#scheduled || this.#pending === 0 || this.#reader === undefined) return;
    this.#scheduled = true;
    this.turns.schedule(() => {
      this.#scheduled = false;
      if (this.#reader === undefined || this.#pending === 0) return;
      const count = this.#pending;
      this.#pending = 0;
      this.#reader.next(count);
    });
  }
}
