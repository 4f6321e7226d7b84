import { VhostError } from '@rxvhost/core';
import type { Test } from 'tap';
import { until } from './bench.js';
import { TestVm } from './test-vm.js';

/** The errno name that a promise rejects with, another error itself, or undefined. */
export function codeOf(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => undefined,
    (error: unknown) => (error instanceof VhostError ? error.code : error),
  );
}

/** A VM that is up at a served path, and off at the end of the test. */
export async function bootVm(t: Test, path: string): Promise<TestVm> {
  const vm = new TestVm();
  t.teardown(() => vm.close());
  await vm.boot(path);
  return vm;
}

/** Sends frames and has them back. */
export async function exchange(t: Test, vm: TestVm, frames = 50): Promise<void> {
  const before = vm.received.intact;
  vm.send(frames);
  await until(t, `${frames} frames came back`, () => vm.received.intact === before + frames);
}
