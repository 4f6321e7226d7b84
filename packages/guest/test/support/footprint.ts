import { readdirSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/** What the process holds now, in words: for a long run, to be compared with what it held before. */
export function footprint(): string {
  setFlagsFromString('--expose-gc');
  runInNewContext('gc')();
  const { rss, heapUsed } = process.memoryUsage();
  const files = readdirSync('/proc/self/fd').length;
  return `${mebibytes(heapUsed)} MiB of heap, ${mebibytes(rss)} resident, ${files} files open`;
}

const mebibytes = (bytes: number) => (bytes / 2 ** 20).toFixed(1);
