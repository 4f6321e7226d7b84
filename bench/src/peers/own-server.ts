import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { NetworkNamespace } from '@rxvhost/test/support/network-namespace.js';

const program = fileURLToPath(new URL('../server/main.js', import.meta.url));

/** How our server is started. */
export interface OwnServerOptions {
  readonly socketPath: string;
  /** `copy`, `source`, `null`, `loopback`, `tap:NAME` or `raw:NAME`. */
  readonly backend: string;
  /** Processor to stay on; any when left out. */
  readonly core?: number;
  /** Microseconds of busy polling; 0 for a server that sleeps between kicks. */
  readonly busyPoll: number;
  readonly namespace?: NetworkNamespace;
  /** A folder to write a CPU profile to. */
  readonly profile?: string | undefined;
}

/** Our server in a process of its own. */
export class OwnServer {
  private constructor(private readonly child: ChildProcess) {}

  static async start(options: OwnServerOptions): Promise<OwnServer> {
    const { socketPath, backend, core, busyPoll, namespace, profile } = options;
    const node = [
      ...(core === undefined ? [] : ['taskset', '-c', String(core)]),
      process.execPath,
      ...(profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profile}`]),
      ...[program, `--socket-path=${socketPath}`, `--backend=${backend}`],
      `--busy-poll=${busyPoll}`,
    ];
    const [command = '', ...args] = namespace?.inside(node) ?? node;
    const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'pipe'] });
    const lines: string[] = [];
    await new Promise<void>((resolve, reject) => {
      child.stderr?.on('data', (chunk: Buffer) => {
        lines.push(chunk.toString());
        if (lines.join('').includes('listening')) resolve();
      });
      child.on('close', () => reject(new Error(`the server ended: ${lines.join('')}`)));
    });
    return new OwnServer(child);
  }

  async stop(): Promise<void> {
    const closed = once(this.child, 'close');
    this.child.kill('SIGTERM');
    await closed;
  }
}
