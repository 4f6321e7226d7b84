import { setTimeout as delay } from 'node:timers/promises';

/** Waits until something is so; rejects after twenty seconds, saying what never was. */
export async function until(what: string, condition: () => boolean): Promise<void> {
  const end = performance.now() + 20_000;
  while (!condition()) {
    if (performance.now() > end) throw new Error(`never: ${what}`);
    await delay(1);
  }
}
