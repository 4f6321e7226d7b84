import type { Subscription } from 'rxjs';
import type { EventPort } from '../events/event-port.js';
import type { VringCounters } from './vring-reports.js';

/** A vring's three event ports, as a front-end sets, replaces and unsets them (seed A10). */
export abstract class VringPorts {
  readonly counters: VringCounters = { kicks: 0, calls: 0, callsSuppressed: 0, errors: 0 };

  #kick: EventPort | undefined;
  #kicks: Subscription | undefined;
  #call: EventPort | undefined;
  #error: EventPort | undefined;

  /** The driver has kicked, `count` times since the last one. */
  protected abstract kicked(count: number): void;

  /** A10. A kick that is pending in the new port is heard. */
  setKick(port: EventPort | undefined): void {
    if (port === this.#kick) return;
    this.#kicks?.unsubscribe();
    this.#kick?.close();
    this.#kick = port;
    this.#kicks = port?.events$.subscribe((count) => {
      this.counters.kicks += count;
      this.kicked(count);
    });
  }

  /** A10, T09. */
  setCall(port: EventPort | undefined): void {
    if (port === this.#call) return;
    this.#call?.close();
    this.#call = port;
  }

  /** A10. */
  setError(port: EventPort | undefined): void {
    if (port === this.#error) return;
    this.#error?.close();
    this.#error = port;
  }

  /** Signals the call event port. */
  protected call(): void {
    this.counters.calls += 1;
    this.#call?.signal();
  }

  /** Signals the error event port (B9). */
  signalError(): void {
    this.counters.errors += 1;
    this.#error?.signal();
  }
}
