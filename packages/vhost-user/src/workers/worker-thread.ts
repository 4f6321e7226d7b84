import { type ResourceLimits, type Transferable, Worker } from 'node:worker_threads';
import { VhostError } from '@rxvhost/core';
import { closeFd } from '@rxvhost/sys';
import type { ServeOptions } from '../backend/vhost-user-server.js';
import { Deferred } from './deferred.js';
import type { FromWorker, ToWorker, WorkerStart } from './messages.js';
import { vhostErrorFrom } from './plain-error.js';
import { removeSocketFile } from './socket-file.js';
import { WorkerServer } from './worker-server.js';

const ENTRY = new URL('./worker-main.js', import.meta.url);

/** How a worker thread is made and ended. */
export interface WorkerThreadOptions {
  readonly module: string;
  readonly resourceLimits: ResourceLimits | undefined;
  readonly execArgv: readonly string[] | undefined;
  /** Milliseconds. */
  readonly closeTimeout: number;
}

/** A device on its way, or there. */
interface Entry<Statistics> {
  readonly server: WorkerServer<Statistics>;
  readonly endpoint: ServeOptions;
  /** What the worker answers: that it serves, or why not. */
  readonly answer: Deferred<VhostError | undefined>;
}

/** One worker thread from here: it lives as long as it has devices. */
export class WorkerThread<Options, Statistics> {
  readonly #worker: Worker;
  readonly #entries = new Map<number, Entry<Statistics>>();
  readonly #ended = new Deferred<void>();
  #lastId = 0;
  #failure: VhostError | undefined;
  #ending = false;

  /** Resolves when the thread has ended, however it did. */
  readonly ended: Promise<void> = this.#ended.promise;

  constructor(private readonly options: WorkerThreadOptions) {
    const workerData: WorkerStart = { module: options.module };
    this.#worker = new Worker(ENTRY, {
      name: 'rxvhost devices',
      workerData,
      ...(options.resourceLimits && { resourceLimits: options.resourceLimits }),
      ...(options.execArgv && { execArgv: [...options.execArgv] }),
    });
    this.#worker.on('message', (message: FromWorker<Statistics>) => this.#receive(message));
    this.#worker.on('error', (error) => {
      this.#failure = workerFailure(error);
    });
    this.#worker.on('exit', (code) => this.#exited(code));
  }

  /** Devices in it, or on their way. */
  get devices(): number {
    return this.#entries.size;
  }

  /** Whether it takes devices. */
  get open(): boolean {
    return !this.#ending;
  }

  /** Resolves to the server of a new device, or rejects with what prevented it. */
  async serve(
    options: Options,
    endpoint: ServeOptions,
    transfer: readonly Transferable[],
  ): Promise<WorkerServer<Statistics>> {
    this.#lastId += 1;
    const id = this.#lastId;
    const server = this.#makeServer(id);
    const answer = new Deferred<VhostError | undefined>();
    this.#entries.set(id, { server, endpoint, answer });
    try {
      this.#post({ kind: 'serve', id, options, endpoint }, transfer);
    } catch (cause) {
      const what = 'options of a device cannot be posted to its worker';
      answer.resolve(new VhostError('EINVAL', what, { cause }));
    }
    const refusal = await answer.promise;
    // The worker has a duplicate of its own by now, or never will.
    if ('fd' in endpoint) closeFd(endpoint.fd);
    if (refusal === undefined) return server;
    this.#entries.delete(id);
    await this.#endIfEmpty();
    throw refusal;
  }

  /** From now on a device that is on its way has only so much time. */
  limitStarts(): void {
    const answers = [...this.#entries.values()].map(({ answer }) => answer.promise);
    void this.#limit(Promise.all(answers), 'make a device in time');
  }

  /** Ends the thread, whatever it does and has. */
  terminate(why: VhostError): void {
    this.#failure ??= why;
    this.#ending = true;
    void this.#worker.terminate();
  }

  #makeServer(id: number): WorkerServer<Statistics> {
    const link = {
      threadId: this.#worker.threadId,
      send: (kind: 'taken' | 'count' | 'close') => this.#post({ kind, id }),
      watch: (on: boolean) => this.#post({ kind: 'watch', id, on }),
    };
    const server = new WorkerServer<Statistics>(link, async () => {
      link.send('close');
      await this.#limit(server.closed, 'close a device in time');
    });
    return server;
  }

  #post(message: ToWorker<Options>, transfer: readonly Transferable[] = []): void {
    this.#worker.postMessage(message, transfer);
  }

  #receive(message: FromWorker<Statistics>): void {
    const entry = this.#entries.get(message.id);
    if (entry === undefined) return;
    switch (message.kind) {
      case 'serving':
        entry.answer.resolve(undefined);
        return;
      case 'refused':
        entry.answer.resolve(vhostErrorFrom(message.error));
        return;
      case 'closed':
        this.#entries.delete(message.id);
        void this.#endIfEmpty().then(() =>
          entry.server.finish(message.errors.map(vhostErrorFrom), message.statistics),
        );
        return;
      case 'events':
      case 'counted':
        entry.server.receive(message);
        return;
    }
  }

  /** Never rejects. */
  async #endIfEmpty(): Promise<void> {
    if (this.#entries.size > 0) return;
    if (!this.#ending) {
      this.#ending = true;
      this.#post({ kind: 'end' });
    }
    await this.#limit(this.ended, 'end a worker in time');
  }

  /** Waits; a worker for which that takes too long is terminated, which ends the waiting too. */
  async #limit(event: Promise<unknown>, what: string): Promise<void> {
    const { closeTimeout } = this.options;
    const timer = setTimeout(() => {
      const message = `${what}: ${closeTimeout} ms have passed, the worker was terminated`;
      this.terminate(new VhostError('ETIMEDOUT', message));
    }, closeTimeout);
    await event;
    clearTimeout(timer);
  }

  #exited(code: number): void {
    this.#ending = true;
    const why = this.#failure ?? new VhostError('EIO', `a worker exited with code ${code}`);
    const entries = [...this.#entries.values()];
    this.#entries.clear();
    for (const entry of entries) {
      if (!entry.answer.settled) {
        entry.answer.resolve(why);
        continue;
      }
      // Its listener was closed with it, but a file stays.
      if ('socketPath' in entry.endpoint) removeSocketFile(entry.endpoint.socketPath);
      entry.server.finish([why]);
    }
    this.#ended.resolve();
  }
}

function workerFailure(cause: Error): VhostError {
  const full = 'code' in cause && cause.code === 'ERR_WORKER_OUT_OF_MEMORY';
  return new VhostError(full ? 'ENOMEM' : 'EIO', `a worker ended: ${cause.message}`, { cause });
}
