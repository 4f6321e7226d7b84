import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { type ExitStatus, PeerProcess } from './peer-process.js';
import { repositoryRoot } from './requirements.js';

/** How a server has ended. */
export interface ServerEnd<Statistics> {
  readonly exit: ExitStatus;
  readonly statistics: Statistics;
  /** Milliseconds from the signal, or from the call, to the end. */
  readonly duration: number;
}

/** What a process holds on to; equal before and after means that nothing leaked. */
export interface HeldResources {
  readonly fds: number;
  /** Mappings of shared memory files, which are guests' memory. */
  readonly memoryMappings: number;
}

/** A device of the `rxvhost` command as a user runs it, in a process of its own. */
export class CliServer<Statistics> {
  readonly #peer: PeerProcess;

  /**
   * @param device - the sub-command
   * @param options - its options
   * @param inside - prefix that runs a command elsewhere, as `NetworkNamespace.inside` makes
   */
  protected constructor(
    device: 'net' | 'vsock',
    options: readonly string[],
    inside = (command: readonly string[]) => [...command],
  ) {
    const program = join(repositoryRoot, 'packages', 'cli', 'bin', 'rxvhost.js');
    const command = [process.execPath, program, device, ...options, '--stats'];
    this.#peer = new PeerProcess(`rxvhost ${device}`, inside(command));
  }

  /** Resolves when the server says that it listens; one that does not is ended. */
  protected async listening(): Promise<this> {
    try {
      await this.says(/listen/);
      return this;
    } catch (error) {
      await this.kill();
      throw error;
    }
  }

  /** Everything that the server has said. */
  get stderr(): string {
    return this.#peer.stderr;
  }

  get running(): boolean {
    return this.#peer.running;
  }

  /** Waits until all that the server has said on stderr matches. */
  async says(pattern: RegExp): Promise<void> {
    await this.#peer.waitFor(pattern, { stream: 'stderr' });
  }

  heldResources(): HeldResources {
    const process = `/proc/${this.#peer.pid}`;
    const maps = readFileSync(join(process, 'maps'), 'utf8').split('\n');
    return {
      fds: readdirSync(join(process, 'fd')).length,
      memoryMappings: maps.filter((line) => line.includes('/memfd:')).length,
    };
  }

  /** What the process holds, as soon as that is `expected`, or else after two seconds. */
  async heldResourcesOnce(expected: HeldResources): Promise<HeldResources> {
    const end = performance.now() + 2000;
    for (;;) {
      const held = this.heldResources();
      if (isDeepStrictEqual(held, expected) || performance.now() > end) return held;
      await delay(20);
    }
  }

  /** Asks the server to end. */
  stop(signal: 'SIGTERM' | 'SIGINT' = 'SIGTERM'): Promise<ServerEnd<Statistics>> {
    return this.#end(() => this.#peer.stop(signal));
  }

  /** Waits until the server ends by itself, as `--once` makes it. */
  ended(): Promise<ServerEnd<Statistics>> {
    return this.#end(() => this.#peer.exited);
  }

  /** For teardown: harmless when the server has ended. */
  async kill(): Promise<void> {
    await this.#peer.stop('SIGKILL');
  }

  async #end(wait: () => Promise<ExitStatus>): Promise<ServerEnd<Statistics>> {
    const start = performance.now();
    const exit = await wait();
    const duration = performance.now() - start;
    try {
      const statistics = JSON.parse(this.#peer.stdout) as Statistics;
      return { exit, statistics, duration };
    } catch (cause) {
      const { stdout, stderr } = this.#peer;
      throw new Error(`no statistics from the server, but: ${stdout}\n${stderr}`, { cause });
    }
  }
}
