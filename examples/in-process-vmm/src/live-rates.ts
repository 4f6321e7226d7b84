import { interval, type Subscription } from 'rxjs';
import type { GuestMachine } from './guest-machine.js';

/** Milliseconds between two lines: often on a terminal, where one line changes; else seldom. */
const TERMINAL_PERIOD = 100;
const PLAIN_PERIOD = 250;

/** Where lines go. */
export interface Screen {
  readonly isTTY?: boolean;
  write(text: string): unknown;
}

/**
 * Shows how the exchange goes while it goes: one line that changes on a terminal, a line now and then
 * elsewhere. Rates are of the time since the line before.
 */
export class LiveRates {
  readonly #subscription: Subscription;
  readonly #before: number[];
  #at = performance.now();

  constructor(
    private readonly screen: Screen,
    private readonly guests: readonly [GuestMachine, GuestMachine],
    private readonly frames: number,
  ) {
    this.#before = guests.map(() => 0);
    const period = screen.isTTY === true ? TERMINAL_PERIOD : PLAIN_PERIOD;
    this.#subscription = interval(period).subscribe(() => this.#show());
  }

  /** Shows the last state and ends. */
  stop(): void {
    this.#subscription.unsubscribe();
    this.#show();
    if (this.screen.isTTY === true) this.screen.write('\n');
  }

  #show(): void {
    const now = performance.now();
    const seconds = (now - this.#at) / 1000;
    const parts = this.guests.map(({ checker }, index) => {
      const sender = this.guests[1 - index]?.name ?? '';
      const rate = Math.round((checker.intact - (this.#before[index] ?? 0)) / seconds);
      this.#before[index] = checker.intact;
      const share = Math.floor((100 * checker.intact) / this.frames);
      const arrived = checker.intact.toLocaleString('en-US');
      return `${sender} → ${this.guests[index]?.name} ${arrived} (${share} %) ${rate.toLocaleString('en-US')}/s`;
    });
    this.#at = now;
    const line = `frames      ${parts.reverse().join('   ')}`;
    this.screen.write(this.screen.isTTY === true ? `\r\x1b[K${line}` : `${line}\n`);
  }
}
