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
  #alone = false;

  /**
   * The queue runs.
   * @param base - where it begins, as SET_VRING_BASE gives it
   * @param initial - where a new driver begins
   */
  begins(base: number, initial: number): DriverBeginning {
    const expected = this.#moved || base === (this.#left ?? initial);
    const reset = this.#alone && base === initial;
    this.#moved = false;
    this.#alone = false;
    if (expected || reset) return 'goes on';
    return base === initial ? 'new' : 'restored';
  }

  /** Whether a driver of this guest's has used the queue. */
  get used(): boolean {
    return this.#left !== undefined;
  }

  /**
   * The queue has stopped at `base`.
   * @param alone - others still run: should it begin at its beginning while they do, its driver has
   * reset this queue only (RING_RESET) and is the same
   */
  stops(base: number, alone = false): void {
    this.#left = base;
    this.#alone = alone;
  }

  /** One of the others has stopped: what comes now is no reset of this queue alone. */
  othersStop(): void {
    this.#alone = false;
  }

  /** The next driver has come from elsewhere with a state that says so, and is told already. */
  moved(): void {
    this.#moved = true;
  }

  /** The next driver is another guest's. */
  forget(): void {
    this.#alone = false;
    this.#moved = false;
    this.#left = undefined;
  }
}
