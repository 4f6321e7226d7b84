/** Takes a timer back; does nothing when it has run. */
export type CancelTimer = () => void;

/** Where connections get their time from, so that tests have a clock of their own. */
export interface Scheduler {
  /** Runs `task` once, `milliseconds` from now or a little later. */
  after(milliseconds: number, task: () => void): CancelTimer;
}

/** The timers of this JavaScript engine. Where it is Node they do not keep the process alive. */
export class SystemScheduler implements Scheduler {
  after(milliseconds: number, task: () => void): CancelTimer {
    const timer = setTimeout(task, milliseconds);
    if (typeof timer === 'object') timer.unref();
    return () => clearTimeout(timer);
  }
}

/** One timer, started anew or stopped. */
export class Deadline {
  #cancel: CancelTimer | undefined;

  constructor(private readonly scheduler: Scheduler) {}

  start(milliseconds: number, task: () => void): void {
    this.stop();
    this.#cancel = this.scheduler.after(milliseconds, task);
  }

  stop(): void {
    this.#cancel?.();
    this.#cancel = undefined;
  }
}
