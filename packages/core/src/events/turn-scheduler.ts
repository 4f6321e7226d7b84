/**
 * Where work goes that must not run now: to a later turn of the event loop, after the I/O that is
 * due has been looked at. This is what keeps one busy queue from holding up everything else
 * (seeds C8, A13).
 */
export interface TurnScheduler {
  /** Runs `turn` in a later turn of the event loop. Turns run in the order in which they came. */
  schedule(turn: () => void): void;
}

/** The scheduler of this JavaScript engine: `setImmediate` where there is one, else a timer. */
export class EventLoopTurns implements TurnScheduler {
  readonly #defer: (turn: () => void) => void =
    typeof setImmediate === 'function' ? setImmediate : (turn) => setTimeout(turn, 0);

  schedule(turn: () => void): void {
    this.#defer(turn);
  }
}
