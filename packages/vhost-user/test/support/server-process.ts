/** Back-ends in processes of their own, to be killed. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Test } from 'tap';

/** A path for the socket of back-ends, removed at the end of the test. */
export function socketPathFor(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'rxvhost-reconnect-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return join(folder, 'nic.sock');
}

/**
 * A program of `fixtures/` that has said its first word: it listens. Without what the test runner loads
 * into every Node, which takes longer than the program: one that is killed has no coverage to tell.
 */
export async function startServer(
  t: Test,
  program: string,
  ...given: readonly string[]
): Promise<ChildProcess> {
  const file = fileURLToPath(new URL(`../fixtures/${program}.js`, import.meta.url));
  const { NODE_OPTIONS, NODE_V8_COVERAGE, ...env } = process.env;
  const stdio = ['pipe', 'pipe', 'inherit'] as const;
  const child = spawn(process.execPath, [file, ...given], { stdio: [...stdio], env });
  t.teardown(() => child.kill('SIGKILL'));
  await once(child.stdout ?? child, 'data');
  return child;
}

/** Kills it, and waits until the kernel has taken away what it had. */
export async function killServer(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  child.kill('SIGKILL');
  await exited;
}
