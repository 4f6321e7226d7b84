import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import type { Requirement } from './requirements.js';

const folder = '/sys/kernel/mm/hugepages/hugepages-2048kB';
const total = `${folder}/nr_hugepages`;

export const needsHugepages: Requirement = () =>
  existsSync(total) ? undefined : 'needs hugepages of 2 MiB';

/**
 * Makes sure that as many hugepages of 2 MiB are free; needs root.
 *
 * @returns what gives them back
 * @throws Error when the kernel has no memory in one piece for them
 */
export function reserveHugepages(count: number): () => void {
  const before = readNumber(total);
  const missing = count - readNumber(`${folder}/free_hugepages`);
  if (missing <= 0) return () => {};
  const restore = () => writeFileSync(total, String(before));
  writeFileSync(total, String(before + missing));
  if (readNumber(total) >= before + missing) return restore;
  restore();
  throw new Error(`the kernel could not set ${count} hugepages aside`);
}

function readNumber(path: string): number {
  return Number(readFileSync(path, 'utf8'));
}
