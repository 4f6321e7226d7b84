import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';

export interface ExitStatus {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** A place in the collected output: a search from a mark sees only what came after it. */
export type OutputMark = number;

/**
 * A program that a test talks to: collects its output, waits for what it says, and ends it. The
 * kernel kills it with SIGKILL should the test's own process die first.
 */
export class PeerProcess {
  readonly exited: Promise<ExitStatus>;
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #watchers = new Set<() => void>();
  #stdout = '';
  #stderr = '';
  #exit: ExitStatus | undefined;

  constructor(
    readonly name: string,
    readonly command: readonly string[],
    environment: NodeJS.ProcessEnv = {},
  ) {
    // `env` takes out the hooks that the test runner puts into every Node it sees started.
    const prefix = ['--pdeathsig', 'KILL', '--', 'env', '-u', 'NODE_OPTIONS'];
    this.#child = spawn('setpriv', [...prefix, ...command], {
      stdio: ['pipe', 'pipe', 'pipe'],
      env: { ...process.env, ...environment },
    });
    this.#child.stdout.setEncoding('latin1').on('data', (text: string) => {
      this.#stdout += text;
      this.#notify();
    });
    this.#child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr += text;
      this.#notify();
    });
    // A write to a peer that has just died says so here; its end is reported by `exited`.
    this.#child.stdin.on('error', () => {});
    this.exited = new Promise((resolve, reject) => {
      this.#child.on('error', reject);
      this.#child.on('close', (status, signal) => {
        this.#exit = { status, signal };
        this.#notify();
        resolve(this.#exit);
      });
    });
  }

  get pid(): number {
    if (this.#child.pid === undefined) throw new Error(`${this.name} did not start`);
    return this.#child.pid;
  }

  /** What was started, as one would type it. */
  get commandLine(): string {
    return this.command.map((word) => (/\s/.test(word) ? `'${word}'` : word)).join(' ');
  }

  get stdout(): string {
    return this.#stdout;
  }

  get stderr(): string {
    return this.#stderr;
  }

  get running(): boolean {
    return this.#exit === undefined;
  }

  write(text: string): void {
    this.#child.stdin.write(text);
  }

  /** Everything from now on: pass it to `waitFor` to ignore what was said before. */
  mark(stream: 'stdout' | 'stderr' = 'stdout'): OutputMark {
    return this.#text(stream).length;
  }

  /**
   * Resolves with the first match in the output after `from`. Rejects, quoting the output's end,
   * when the program ends first or after `timeout` milliseconds.
   */
  waitFor(
    pattern: RegExp,
    { stream = 'stdout' as 'stdout' | 'stderr', from = 0, timeout = 60_000 } = {},
  ): Promise<RegExpExecArray> {
    return new Promise((resolve, reject) => {
      const settle = () => {
        clearTimeout(timer);
        this.#watchers.delete(look);
      };
      const fail = (why: string) => {
        settle();
        reject(new Error(`${this.name} ${why} before it said ${pattern}\n${this.#tail()}`));
      };
      const look = () => {
        const match = pattern.exec(this.#text(stream).slice(from));
        if (match) {
          settle();
          resolve(match);
        } else if (this.#exit) fail(`ended (${describeExit(this.#exit)})`);
      };
      const timer = setTimeout(() => fail(`took over ${timeout} ms`), timeout);
      this.#watchers.add(look);
      look();
    });
  }

  /** Sends a signal and waits for the end; SIGKILL follows after `timeout` milliseconds. */
  async stop(signal: NodeJS.Signals = 'SIGTERM', timeout = 20_000): Promise<ExitStatus> {
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), timeout);
    this.#child.kill(signal);
    const exit = await this.exited;
    clearTimeout(timer);
    return exit;
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  #text(stream: 'stdout' | 'stderr'): string {
    return stream === 'stdout' ? this.#stdout : this.#stderr;
  }

  #tail(): string {
    return `stdout: ${this.#stdout.slice(-2000)}\nstderr: ${this.#stderr.slice(-2000)}`;
  }

  #notify(): void {
    for (const watcher of [...this.#watchers]) watcher();
  }
}

export function describeExit({ status, signal }: ExitStatus): string {
  return signal === null ? `exit status ${status}` : `killed by ${signal}`;
}
