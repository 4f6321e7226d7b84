import { join } from 'node:path';
import type { Measurement } from './peers/vhost-client.js';

/** What a benchmark run was asked for. */
export interface Settings {
  /** Seconds of each measurement. */
  readonly seconds: number;
  /** Measurements of each thing; the table shows medians. */
  readonly rounds: number;
  /** On packed rings, beside our own figures on split ones. */
  readonly packed: boolean;
  /** A folder for CPU profiles of our server; undefined for none. */
  readonly profile: string | undefined;
  /** A folder for sockets. */
  readonly folder: string;
}

/** Processor of the server under test, and of its client. */
export const SERVER_CORE = 0;
export const CLIENT_CORE = 1;
/** Microseconds: long enough that a server under load never sleeps, as its polling peers never do. */
export const BUSY_POLL = 10_000;
/** Seconds that do not count: DPDK's start-up, V8's warm-up. */
export const WARM_UP = 1;

/** A measurement on a socket of its own. */
export function measurementOf({ folder, seconds, packed }: Settings, name: string): Measurement {
  const socketPath = join(folder, `${name}.sock`);
  return { socketPath, seconds, warmUp: WARM_UP, core: CLIENT_CORE, packed };
}

/** How the figures on split rings are called, beside those on packed ones. */
export const ON_SPLIT_RINGS = 'rxvhost on split rings';
