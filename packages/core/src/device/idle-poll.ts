/**
 * Busy polling (seed C14): for a configured time after the last work, look at the ring once a turn
 * instead of asking the driver for a kick. A kick costs the driver a system call and us a wake-up;
 * a look costs one read.
 */
export class IdlePoll {
  #since = 0;

  /** @param queue - whose `busyPoll` says how many microseconds to go on looking; 0 never does */
  constructor(private readonly queue: { readonly busyPoll: number }) {}

  /** There was work: the time begins anew with the next idle look. */
  worked(): void {
    this.#since = 0;
  }

  /** Whether to look once more rather than wait for a kick. */
  goOn(): boolean {
    const { busyPoll } = this.queue;
    if (busyPoll === 0) return false;
    const now = performance.now();
    if (this.#since === 0) this.#since = now;
    if ((now - this.#since) * 1000 < busyPoll) return true;
    this.#since = 0;
    return false;
  }
}
