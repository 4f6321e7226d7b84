import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import type { NetStatistics } from '@rxvhost/core';
import { type ExitStatus, PeerProcess } from './peer-process.js';
import { repositoryRoot } from './requirements.js';

export interface ServerOptions {
  readonly socketPath: string;
  /** Connect to the front-end, which listens there, rather than listen; off by default. */
  readonly connects?: boolean;
  /** As for `--backend`. */
  readonly backend: string;
  /** More arguments of `rxvhost net`. */
  readonly arguments?: readonly string[];
  /** Prefix that runs a command elsewhere, as `NetworkNamespace.inside` makes. */
  readonly inside?: (command: readonly string[]) => string[];
}

export interface ServerEnd {
  readonly exit: ExitStatus;
  readonly statistics: NetStatistics;
  /** Milliseconds from the signal, or from the call, to the end. */
  readonly duration: number;
}

/** What a process holds on to; equal before and after means that nothing leaked. */
export interface HeldResources {
  readonly fds: number;
  /** Mappings of shared memory files, which are guests' memory. */
  readonly memoryMappings: number;
}

/** The `rxvhost net` command as a user runs it, in a process of its own. */
export class Server {
  readonly #peer: PeerProcess;

  private constructor(options: ServerOptions) {
    const { inside = (command) => [...command] } = options;
    this.#peer = new PeerProcess(
      'rxvhost net',
      inside([
        process.execPath,
        join(repositoryRoot, 'packages', 'cli', 'bin', 'rxvhost.js'),
        'net',
        `--${options.connects === true ? 'connect' : 'socket'}-path=${options.socketPath}`,
        `--backend=${options.backend}`,
        '--stats',
        ...(options.arguments ?? []),
      ]),
    );
  }

  /** Resolves when the server says that it listens. */
  static async start(options: ServerOptions): Promise<Server> {
    const server = new Server(options);
    try {
      await server.#peer.waitFor(/listen/, { stream: 'stderr' });
      return server;
    } catch (error) {
      await server.kill();
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
  stop(signal: 'SIGTERM' | 'SIGINT' = 'SIGTERM'): Promise<ServerEnd> {
    return this.#end(() => this.#peer.stop(signal));
  }

  /** Waits until the server ends by itself, as `--once` makes it. */
  ended(): Promise<ServerEnd> {
    return this.#end(() => this.#peer.exited);
  }

  /** For teardown: harmless when the server has ended. */
  async kill(): Promise<void> {
    await this.#peer.stop('SIGKILL');
  }

  async #end(wait: () => Promise<ExitStatus>): Promise<ServerEnd> {
    const start = performance.now();
    const exit = await wait();
    const duration = performance.now() - start;
    try {
      const statistics = JSON.parse(this.#peer.stdout) as NetStatistics;
      return { exit, statistics, duration };
    } catch (cause) {
      const { stdout, stderr } = this.#peer;
      throw new Error(`no statistics from the server, but: ${stdout}\n${stderr}`, { cause });
    }
  }
}
