import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Worker } from 'node:worker_threads';
import type { Test } from 'tap';
import { DeviceWorkers, type DeviceWorkersOptions } from '../../src/index.js';
import type { NicOptions } from '../fixtures/nic-worker.js';
import { until } from './bench.js';

/** What a process has open and mapped, and what its objects take. */
export interface Resources {
  readonly fds: number;
  readonly mappings: number;
  /** Bytes of JavaScript's heap and of what hangs on it, after a garbage collection. */
  readonly heap: number;
}

/** As they are now. Mappings are those with a file, a memfd for example, behind them. */
export function resources(): Resources {
  collectGarbage();
  const { heapUsed, external } = process.memoryUsage();
  return { fds: openFiles().length, mappings: memfdMappings(), heap: heapUsed + external };
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

let warm: Promise<unknown> | undefined;

/** The first worker of a process leaves fds of Node's own; afterwards their number stays. */
function warmUp(): Promise<unknown> {
  warm ??= new Promise((resolve) => new Worker('', { eval: true }).once('exit', resolve));
  return warm;
}

/** Workers that make the fixture's NICs, closed at the end of the test. */
export function nicWorkers(
  t: Test,
  options: Partial<DeviceWorkersOptions> = {},
): DeviceWorkers<NicOptions> {
  const module = new URL('../fixtures/nic-worker.js', import.meta.url);
  const workers = new DeviceWorkers<NicOptions>({ module, ...options });
  t.teardown(() => workers.close());
  return workers;
}

/** A test that leaves fds and mappings as it found them. */
export function tidyTest(t: Test, name: string, body: (t: Test) => Promise<void>): void {
  t.test(name, async (t) => {
    await warmUp();
    const before = resources();
    await t.test('while it lasts', body);
    await until(t, 'fds are as before', () => openFiles().length <= before.fds);
    await until(t, 'mappings are as before', () => resources().mappings <= before.mappings);
  });
}
