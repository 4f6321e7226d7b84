import { Worker } from 'node:worker_threads';
import type { Test } from 'tap';
import { DeviceWorkers, type DeviceWorkersOptions } from '../../src/index.js';
import type { NicOptions } from '../fixtures/nic-worker.js';
import { until } from './bench.js';
import { resources } from './resources.js';

// Coverage of workers takes so much memory in them that V8 ends the process where one runs out of it.
delete process.env['NODE_V8_COVERAGE'];

let warm: Promise<unknown> | undefined;

/** The first worker of a process leaves fds of Node's own; afterwards their number stays. */
function warmUp(): Promise<unknown> {
  warm ??= new Promise((resolve) =>
    new Worker('', { eval: true, execArgv: [] }).once('exit', resolve),
  );
  return warm;
}

/**
 * Workers that make the fixture's NICs, closed at the end of the test. They are without what the test
 * runner loads into this process, which takes memory and fds of its own.
 */
export function nicWorkers(
  t: Test,
  options: Partial<DeviceWorkersOptions> = {},
): DeviceWorkers<NicOptions> {
  const module = new URL('../fixtures/nic-worker.js', import.meta.url);
  const workers = new DeviceWorkers<NicOptions>({ module, execArgv: [], ...options });
  t.teardown(() => workers.close());
  return workers;
}

/** A test that leaves fds and mappings as it found them. */
export function tidyTest(t: Test, name: string, body: (t: Test) => Promise<void>): void {
  t.test(name, async (t) => {
    await warmUp();
    const before = resources();
    await t.test('while it lasts', body);
    await until(t, 'fds are as before', () => resources().fds <= before.fds);
    await until(t, 'mappings are as before', () => resources().mappings <= before.mappings);
  });
}
