import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { run } from '../src/run.js';

const BIN = fileURLToPath(new URL('../../bin/rxvhost.js', import.meta.url));

/** How a run of the command ended. */
export interface Outcome {
  /** Exit code; `null` after a signal. */
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A running `rxvhost`, with what it has said so far. */
export class RunningCli {
  readonly ended: Promise<Outcome>;
  #stdout = '';
  #stderr = '';
  #changed = new AbortController();

  constructor(readonly child: ChildProcess) {
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.#stdout += text;
      this.#notify();
    });
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr += text;
      this.#notify();
    });
    this.ended = once(child, 'close').then(([code]) => {
      this.#notify();
      return { code, stdout: this.#stdout, stderr: this.#stderr };
    });
  }

  get stderr(): string {
    return this.#stderr;
  }

  /** Resolves when stderr matches; rejects with all of stderr after `milliseconds`. */
  async says(pattern: RegExp, milliseconds = 60_000): Promise<void> {
    const deadline = AbortSignal.timeout(milliseconds);
    while (!pattern.test(this.#stderr)) {
      if (deadline.aborted || this.child.exitCode !== null) {
        throw new Error(`stderr never matched ${pattern}: ${this.#stderr}`);
      }
      await Promise.race([once(this.#changed.signal, 'abort'), once(deadline, 'abort')]);
    }
  }

  #notify(): void {
    const previous = this.#changed;
    this.#changed = new AbortController();
    previous.abort();
  }
}

/**
 * Starts `rxvhost` with `args`, through the program `prefix` if there is one, and free of the hooks
 * that the test runner puts into every Node.
 */
export function startCli(
  args: readonly string[],
  options: SpawnOptions = {},
  prefix: readonly string[] = [],
): RunningCli {
  const command = ['-u', 'NODE_OPTIONS', ...prefix, process.execPath, BIN, ...args];
  return new RunningCli(spawn('env', command, { stdio: ['ignore', 'pipe', 'pipe'], ...options }));
}

/** Runs `rxvhost` with `args` to its end. */
export function runCli(
  args: readonly string[],
  options: SpawnOptions = {},
  prefix: readonly string[] = [],
): Promise<Outcome> {
  return startCli(args, options, prefix).ended;
}

/**
 * Milliseconds in which a signal has to end the command. It takes a second at most where nothing else
 * runs; here another test file may run beside. Waiting for a guest would take three.
 */
export const ENDS_WITHIN = 2500;

/** Runs the command in this process: quicker, for what ends before it serves anything. */
export async function runHere(args: readonly string[]): Promise<Outcome> {
  let stdout = '';
  let stderr = '';
  const code = await run(args, {
    out: (text) => (stdout += `${text}\n`),
    say: (line) => (stderr += `rxvhost: ${line}\n`),
  });
  return { code, stdout, stderr };
}
