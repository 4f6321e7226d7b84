import type { DeviceEvent } from './messages.js';

/** Events that wait while the main thread has not taken the batch before. */
const LIMIT = 256;

/**
 * Collects what a device has to tell the main thread into one message for each turn of the event loop,
 * and no more than one that has not been taken.
 */
export class EventRelay<Statistics> {
  #waiting: DeviceEvent<Statistics>[] = [];
  #missed = 0;
  #scheduled = false;
  #underWay = false;
  /** The connection that the main thread knows of, or will. */
  #connection = 0;

  /** @param post - sends a batch and how many events there was no room for before it */
  constructor(
    private readonly post: (events: readonly DeviceEvent<Statistics>[], missed: number) => void,
  ) {}

  add(event: DeviceEvent<Statistics>): void {
    if (this.#keeps(event)) this.#waiting.push(event);
    this.#schedule();
  }

  /** The batch under way has arrived. */
  taken(): void {
    this.#underWay = false;
    if (this.#waiting.length > 0 || this.#missed > 0) this.#schedule();
  }

  /** Sends what is left, whether the batch before was taken or not: nothing follows. */
  flush(): void {
    if (this.#waiting.length > 0 || this.#missed > 0) this.#send();
  }

  #keeps(event: DeviceEvent<Statistics>): boolean {
    const full = this.#waiting.length >= LIMIT;
    switch (event.kind) {
      case 'state':
      case 'deviceState':
      case 'statistics':
        // The latest one counts.
        if (full) this.#waiting = this.#waiting.filter(({ kind }) => kind !== event.kind);
        return true;
      case 'ended':
        return event.connection === this.#connection;
      case 'connected':
        if (!full) this.#connection = event.connection;
        break;
      case 'protocolFault':
      case 'queueFault':
        break;
    }
    if (full) this.#missed += 1;
    return !full;
  }

  #schedule(): void {
    if (this.#scheduled || this.#underWay) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#underWay = true;
      this.#send();
    });
  }

  #send(): void {
    const events = this.#waiting;
    const missed = this.#missed;
    this.#waiting = [];
    this.#missed = 0;
    this.post(events, missed);
  }
}
