/** Tells of a socket on which nothing has happened for some time. Does not keep the process alive. */
export class InactivityTimer {
  #timer: NodeJS.Timeout | undefined;

  constructor(private readonly elapsed: () => void) {}

  /** Begins to wait for `milliseconds` of silence; 0 ends the waiting. */
  set(milliseconds: number): void {
    this.stop();
    if (milliseconds === 0) return;
    this.#timer = setTimeout(this.elapsed, milliseconds);
    this.#timer.unref();
  }

  /** Something has happened. */
  refresh(): void {
    this.#timer?.refresh();
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}
