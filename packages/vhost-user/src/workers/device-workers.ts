/**
 * Devices in worker threads. One thread serves many devices well as long as there is time for all of
 * them; more threads put them on more processors, and keep one that is slow, or that breaks, apart
 * from the others.
 *
 * A worker makes its devices itself, listens for their front-ends, maps their guests' memory and moves
 * their packets. Nothing of that passes through the main thread, which only hears what happens, and
 * asks. So the devices that a thread serves depend on that thread alone.
 */
import type { ResourceLimits, Transferable } from 'node:worker_threads';
import { type NetStatistics, VhostError } from '@rxvhost/core';
import type { ServeOptions } from '../backend/vhost-user-server.js';
import type { WorkerServer } from './worker-server.js';
import { WorkerThread } from './worker-thread.js';

/** MiB, where a worker's memory is limited at all. */
const YOUNG_GENERATION = 8;
/** Milliseconds; a NIC may wait three seconds for what its backend still has. */
const CLOSE_TIMEOUT = 10_000;

/** How {@link DeviceWorkers} are made. */
export interface DeviceWorkersOptions {
  /**
   * The module that makes devices, as a URL, an absolute path or a package's name: its default export
   * is a {@link DeviceFactory}.
   */
  readonly module: string | URL;
  /** The most worker threads, at least 1. Left out: one for each device. */
  readonly workers?: number;
  /**
   * What each thread may use; see `worker_threads`. A worker that grows over its limits bit by bit ends
   * alone, for which its young generation is 8 MiB unless said otherwise: V8 lets a thread go over its limit by
   * 16 MiB while it ends it, and on Node 24 as much may come out of the young generation at once. One that
   * allocates more than that at a time, or on Node 24 fills one array after another, can still end the
   * whole process.
   */
  readonly resourceLimits?: ResourceLimits;
  /** Node's options for the threads, such as `--import=tsx`; the process's own unless set. */
  readonly execArgv?: readonly string[];
  /**
   * Milliseconds that a worker has to close a device; one that does not answer by then is terminated,
   * with all that it serves. 10,000 unless set.
   */
  readonly closeTimeout?: number;
}

/**
 * Serves devices in worker threads:
 *
 *     await using workers = new DeviceWorkers<NicOptions>({ workers: 2, module: new URL('./nic.js', import.meta.url) });
 *     const server = await workers.serve({ ifname: 'tap0' }, { socketPath: '/run/vm1.sock' });
 *     server.errors$.subscribe(({ error }) => console.error(error.message));
 *
 * A thread is started when a device needs it and ends with its last one. A thread that throws, exits
 * or runs out of memory takes its devices along: each says so on its `errors$` and is `closed`. Their
 * fds, memory and socket files are released; other threads and this one go on, and the next `serve`
 * gets a new thread.
 */
export class DeviceWorkers<Options = undefined, Statistics = NetStatistics> {
  readonly #threads = new Set<WorkerThread<Options, Statistics>>();
  readonly #servers = new Set<WorkerServer<Statistics>>();
  readonly #starting = new Set<Promise<unknown>>();
  readonly #limit: number;
  #closing: Promise<void> | undefined;

  /** Throws `EINVAL` for a number of workers that is not a whole one from 1 on. */
  constructor(private readonly options: DeviceWorkersOptions) {
    const { workers = Number.POSITIVE_INFINITY } = options;
    if (workers !== Number.POSITIVE_INFINITY && !(Number.isInteger(workers) && workers >= 1)) {
      throw new VhostError('EINVAL', `${workers} worker threads`);
    }
    this.#limit = workers;
  }

  /** Devices that are served now, in the order in which they came. */
  get servers(): readonly WorkerServer<Statistics>[] {
    return [...this.#servers];
  }

  /** Threads that run now. */
  get threads(): number {
    return this.#threads.size;
  }

  /**
   * Makes a device in the worker that has the fewest, and serves it.
   *
   * @param options - for the module's factory; copied as `structuredClone` does
   * @param endpoint - where front-ends are met, as for `serve` in one thread. A given `fd` is this
   * object's from here on, whether it rejects or not
   * @param transfer - what of the options is moved rather than copied: ports, buffers
   * Rejects with what the factory throws or the server's constructor (`EADDRINUSE`, …); `EINVAL` for
   * options that cannot be copied and a module without a factory, `EIO` or `ENOMEM` when the worker
   * ends over it, `ESHUTDOWN` after {@link close}.
   */
  async serve(
    options: Options,
    endpoint: ServeOptions,
    transfer: readonly Transferable[] = [],
  ): Promise<WorkerServer<Statistics>> {
    if (this.#closing !== undefined) throw new VhostError('ESHUTDOWN', 'the workers are closed');
    const serving = this.#pick().serve(options, endpoint, transfer);
    this.#starting.add(serving);
    try {
      const server = await serving;
      this.#servers.add(server);
      void server.closed.then(() => this.#servers.delete(server));
      return server;
    } finally {
      this.#starting.delete(serving);
    }
  }

  /** Closes every device, the latest first, and ends the threads. Later calls return the same promise. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    for (const thread of this.#threads) thread.limitStarts();
    while (this.#starting.size > 0) await Promise.allSettled(this.#starting);
    for (const server of this.servers.toReversed()) await server.close();
  }

  #pick(): WorkerThread<Options, Statistics> {
    const open = [...this.#threads].filter((thread) => thread.open);
    if (open.length < this.#limit) return this.#start();
    return open.reduce((best, next) => (next.devices < best.devices ? next : best));
  }

  #start(): WorkerThread<Options, Statistics> {
    const { module, resourceLimits, execArgv, closeTimeout = CLOSE_TIMEOUT } = this.options;
    const thread = new WorkerThread<Options, Statistics>({
      module: String(module),
      resourceLimits: resourceLimits && {
        maxYoungGenerationSizeMb: YOUNG_GENERATION,
        ...resourceLimits,
      },
      execArgv,
      closeTimeout,
    });
    this.#threads.add(thread);
    void thread.ended.then(() => this.#threads.delete(thread));
    return thread;
  }
}
