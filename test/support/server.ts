import type { NetStatistics } from '@rxvhost/core';
import { CliServer } from './cli-server.js';

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

/** The `rxvhost net` command. */
export class Server extends CliServer<NetStatistics> {
  static start(options: ServerOptions): Promise<Server> {
    const { socketPath, connects = false, backend, inside } = options;
    const path = `--${connects ? 'connect' : 'socket'}-path=${socketPath}`;
    const given = [path, `--backend=${backend}`, ...(options.arguments ?? [])];
    return new Server('net', given, inside).listening();
  }
}
