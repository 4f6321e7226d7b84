import { type Observable, Subscription } from 'rxjs';
import { EventLoopTurns } from '../events/turn-scheduler.js';

const turns = new EventLoopTurns();

/** Lets the event loop go round, with its I/O. */
export async function someTurns(count = 20): Promise<void> {
  for (let n = 0; n < count; n += 1) {
    await new Promise<void>((resolve) => turns.schedule(resolve));
  }
}

/** Waits until `condition` holds; false when it does not within `patience` milliseconds. */
export async function until(
  condition: () => boolean | Promise<boolean>,
  patience: number,
): Promise<boolean> {
  const end = performance.now() + patience;
  while (!(await condition())) {
    if (performance.now() >= end) return false;
    await someTurns(1);
  }
  return true;
}

/** Resolves with true on the first emission, with false when none comes or the stream ends. */
export function emission(source: Observable<unknown>, patience: number): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const subscription = new Subscription();
    const settle = (finish: () => void): void => {
      clearTimeout(timer);
      subscription.unsubscribe();
      finish();
    };
    const timer = setTimeout(() => settle(() => resolve(false)), patience);
    subscription.add(
      source.subscribe({
        next: () => settle(() => resolve(true)),
        error: (error: unknown) => settle(() => reject(error)),
        complete: () => settle(() => resolve(false)),
      }),
    );
  });
}
