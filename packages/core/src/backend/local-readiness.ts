import { Observable, type Subscriber } from 'rxjs';
import type { TurnScheduler } from '../events/turn-scheduler.js';

/**
 * Level-triggered readiness of something within the process, with a poll's manners: while subscribed
 * and ready it emits once a turn, never inside the call that made it ready.
 */
export class LocalReadiness {
  #subscriber: Subscriber<void> | undefined;
  #scheduled = false;
  #ended = false;

  readonly ready$ = new Observable<void>((subscriber) => {
    if (this.#ended) {
      subscriber.complete();
      return undefined;
    }
    this.#subscriber = subscriber;
    this.check();
    return () => {
      if (this.#subscriber === subscriber) this.#subscriber = undefined;
    };
  });

  /** @param isReady - asked before each emission */
  constructor(
    private readonly turns: TurnScheduler,
    private readonly isReady: () => boolean,
  ) {}

  /** Something may have changed. */
  check(): void {
    if (this.#scheduled || this.#subscriber === undefined || !this.isReady()) return;
    this.#scheduled = true;
    this.turns.schedule(this.#emit);
  }

  /** No more emissions; the subscriber's stream completes. */
  end(): void {
    this.#ended = true;
    this.#subscriber?.complete();
    this.#subscriber = undefined;
  }

  readonly #emit = (): void => {
    this.#scheduled = false;
    if (this.#subscriber === undefined || !this.isReady()) return;
    this.#subscriber.next();
    this.check();
  };
}
