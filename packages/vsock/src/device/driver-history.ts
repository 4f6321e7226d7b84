/** What a driver is that begins to use the transmit queue. */
export type DriverBeginning =
  /** The one that was there: it was paused, or its features were set again. */
  | 'goes on'
  /** One that has just set up its rings: the guest has booted, or loaded its driver again. */
  | 'new'
  /** One with a history that we do not know: restored from a snapshot, migrated, or another's before. */
  | 'restored';

/**
 * Tells by the place in the transmit queue whether a driver goes on (hazard T76). Without a packet of
 * the guest's there is no connection, so a driver that is where it was has the same ones as then.
 */
export class DriverHistory {
  #left: number | undefined;
  #moved = false;

  /**
   * The queue runs.
   * @param base - where it begins, as SET_VRING_BASE gives it
   * @param initial - where a new driver begins
   */
  begins(base: number, initial: number): DriverBeginning {
    if (this.#moved || base === (this.#left ?? initial)) {
      this.#moved = false;
      return 'goes on';
    }
    return base === initial ? 'new' : 'restored';
  }

  /** Whether a driver of this guest's has used the queue. */
  get used(): boolean {
    return this.#left !== undefined;
  }

  /** The queue has stopped at `base`. */
  stops(base: number): void {
    this.#left = base;
  }

  /** The next driver has come from elsewhere with a state that says so, and is told already. */
  moved(): void {
    this.#moved = true;
  }

  /** The next driver is another guest's. */
  forget(): void {
    this.#moved = false;
    this.#left = undefined;
  }
}
