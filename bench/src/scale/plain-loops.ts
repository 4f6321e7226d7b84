import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { WARM_UP } from '../settings.js';

/** One counter a thread, each in a cache line of its own. */
const COUNTER_STRIDE = 16;
const PERIOD = 2 ** 32;

/**
 * What the machine itself gives to `count` threads that share nothing and make no system call: what
 * workers can be held against. Resolves to frames copied a second of the clock, in millions.
 */
export async function plainLoopsRate(count: number, seconds: number): Promise<number> {
  const counters = new Int32Array(new SharedArrayBuffer(4 * COUNTER_STRIDE * count));
  const script = new URL('./plain-loop.js', import.meta.url);
  const threads = Array.from({ length: count }, (_, index) => {
    const counter = counters.subarray(index * COUNTER_STRIDE, index * COUNTER_STRIDE + 1);
    return new Worker(script, { workerData: counter });
  });
  await sleep(WARM_UP * 1000);
  const start = performance.now();
  const before = counters.slice();
  await sleep(seconds * 1000);
  const after = counters.slice();
  const elapsed = performance.now() - start;
  await Promise.all(threads.map((thread) => thread.terminate()));
  const copied = after.map((value, index) => value - (before[index] ?? 0));
  return copied.reduce((sum, frames) => sum + ((frames + PERIOD) % PERIOD), 0) / elapsed / 1000;
}
