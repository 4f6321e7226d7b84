// Child processes for the tools: one place that knows the root folder and how a failure is shown.
import { spawn } from 'node:child_process';
import { delimiter, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '');
const binaries = join(root, 'node_modules', '.bin');

/**
 * Runs a program in the root folder, with the local binaries first in PATH; resolves with its exit
 * status (1 when a signal ended it). `onLine` receives stdout line by line instead of the terminal.
 */
export function run(command, args, { env = {}, stdio = 'inherit', onLine } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd: root,
      stdio: onLine ? ['ignore', 'pipe', 'inherit'] : stdio,
      env: { ...process.env, ...env, PATH: `${binaries}${delimiter}${process.env.PATH ?? ''}` },
    });
    if (onLine) createInterface({ input: child.stdout }).on('line', onLine);
    child.on('error', reject);
    child.on('close', (status) => resolve(status ?? 1));
  });
}

/** As `run`, but the output is kept back and shown only on failure; a failure throws. */
export async function runQuietly(command, args, env = {}) {
  const lines = [];
  const quoted = [command, ...args].join(' ');
  const status = await run('/bin/sh', ['-c', 'exec "$@" 2>&1', 'sh', command, ...args], {
    env,
    onLine: (line) => lines.push(line),
  });
  if (status === 0) return;
  console.error(lines.join('\n'));
  throw new StepFailed(`${quoted} failed with exit status ${status}`);
}

/** A step failed and its own output has been shown, so no stack trace is wanted. */
export class StepFailed extends Error {}

/** Runs a tool's body: its result becomes the exit status, a failed step one line on stderr. */
export async function main(body) {
  try {
    process.exitCode = (await body()) ?? 0;
  } catch (error) {
    if (!(error instanceof StepFailed)) throw error;
    console.error(error.message);
    process.exitCode = 1;
  }
}
