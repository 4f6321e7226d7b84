import type { TurnScheduler } from '../events/turn-scheduler.js';

/** Something to run in a turn: a queue's handler. One object per queue, never one per event. */
export interface Work {
  /** One bounded piece of work. To go on, it queues itself again. Must not throw. */
  run(): void;
}

/** How long one device may go on in one turn of the event loop, in microseconds. */
const SLICE_MICROSECONDS = 50;

/**
 * A device's own worker (seed A13): runs queued work in order, in slices of at most
 * {@link SLICE_MICROSECONDS} and the piece of work begun within them; then the event loop and the
 * other devices have their turn.
 */
export class WorkQueue {
  readonly #waiting: Work[] = [];
  readonly #flushes: (() => void)[] = [];
  #scheduled = false;
  #running = false;

  constructor(private readonly turns: TurnScheduler) {}

  /** Queues `work` unless it waits already. */
  queue(work: Work): void {
    if (!this.#waiting.includes(work)) this.#waiting.push(work);
    this.#schedule();
  }

  /** Runs `work` at once, or queues it when the worker is in the middle of something. */
  runOrQueue(work: Work): void {
    if (this.#running || this.#waiting.includes(work)) {
      this.queue(work);
      return;
    }
    this.#running = true;
    work.run();
    this.#running = false;
    // What the work queued meanwhile, itself perhaps, still needs a turn.
    if (this.#waiting.length > 0) this.#schedule();
  }

  /** True while anything but `work` is due: then `work` should not spend time on waiting (C14). */
  hasOther(work: Work): boolean {
    return this.#waiting.some((other) => other !== work);
  }

  /** Takes `work` out again, if it waits. */
  cancel(work: Work): void {
    const index = this.#waiting.indexOf(work);
    if (index >= 0) this.#waiting.splice(index, 1);
  }

  /** Resolves when everything queued before this call has run (seed A12). */
  flush(): Promise<void> {
    if (this.#waiting.length === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.#flushes.push(resolve);
    });
  }

  #schedule(): void {
    if (this.#scheduled || this.#running) return;
    this.#scheduled = true;
    this.turns.schedule(this.#turn);
  }

  readonly #turn = (): void => {
    this.#scheduled = false;
    this.#running = true;
    const flushed = this.#flushes.splice(0);
    let beforeFlush = this.#waiting.length;
    const end = performance.now() + SLICE_MICROSECONDS / 1000;
    for (;;) {
      const work = this.#waiting.shift();
      if (work === undefined) break;
      work.run();
      beforeFlush -= 1;
      if (beforeFlush <= 0 && performance.now() >= end) break;
    }
    this.#running = false;
    for (const done of flushed) done();
    if (this.#waiting.length > 0) this.#schedule();
  };
}
