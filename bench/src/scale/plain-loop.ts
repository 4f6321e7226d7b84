// A thread that does nothing but copy 64-byte frames within the nearest cache, and counts them.
import { workerData } from 'node:worker_threads';

const FRAMES = 256;
const WORDS = 16 * FRAMES;

const counter = workerData as Int32Array;
const from = new Uint32Array(WORDS).fill(7);
const to = new Uint32Array(WORDS);
for (;;) {
  for (let word = 0; word < WORDS; word += 1) to[word] = from[word] as number;
  Atomics.add(counter, 0, FRAMES);
}
