import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/** What a process has open and mapped, and what its objects take. */
export interface Resources {
  readonly fds: number;
  readonly mappings: number;
  /** Bytes of JavaScript's heap and of what hangs on it, after a garbage collection. */
  readonly heap: number;
}

/** As they are now. Mappings are those with a file, a memfd for example, behind them. */
export function resources(): Resources {
  return { fds: openFiles().length, mappings: memfdMappings(), heap: heapBytes() };
}

/** Bytes of this thread's heap and of what hangs on it, after a garbage collection. */
export function heapBytes(): number {
  collectGarbage();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

/** Every open file but the directory that is read for that. */
export function openFiles(): string[] {
  return readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      const file = readlinkSync(`/proc/self/fd/${fd}`);
      return file.startsWith('/proc/') ? [] : [`${fd} -> ${file}`];
    } catch {
      return [];
    }
  });
}

function memfdMappings(): number {
  const maps = readFileSync('/proc/self/maps', 'utf8');
  return maps.split('\n').filter((line) => line.includes('memfd:')).length;
}

function collectGarbage(): void {
  setFlagsFromString('--expose-gc');
  runInNewContext('gc')();
}
