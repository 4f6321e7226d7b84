/**
 * In-band notifications: kicks, calls and errors as messages instead of through eventfds, for
 * simulations that need to know when each is dealt with. Slow, and only done when negotiated.
 */
import type { EventPort } from '@rxvhost/core';
import { NEVER, type Observable, Subject } from 'rxjs';

/** The kick of a ring that is kicked by VRING_KICK. The device has looked when `signal` returns. */
export class InbandKick implements EventPort {
  readonly #kicks$ = new Subject<number>();
  readonly events$: Observable<number> = this.#kicks$;

  signal(): void {
    this.#kicks$.next(1);
  }

  close(): void {
    this.#kicks$.complete();
  }
}

/** The call, or the error event, of a ring that sends it as a message. */
export class InbandReport implements EventPort {
  readonly events$: Observable<number> = NEVER;
  #open = true;

  constructor(private readonly tell: () => void) {}

  signal(): void {
    if (this.#open) this.tell();
  }

  close(): void {
    this.#open = false;
  }
}

/** Sends what rings report. */
export interface InbandReports {
  tellCall(index: number): void;
  tellError(index: number): void;
}
