import { VhostError } from '@rxvhost/core';
import { BehaviorSubject, lastValueFrom, type Observable, Subject } from 'rxjs';
import type { Connection, DeviceServer, ServerState } from '../backend/device-server.js';
import type { ProtocolFault } from '../backend/session-events.js';
import type { DeviceEvent, FromWorker } from './messages.js';
import { vhostErrorFrom } from './plain-error.js';
import { RemoteDevice } from './remote-device.js';

/** Somebody who waits for statistics. */
interface Count<Statistics> {
  resolve(statistics: Statistics): void;
  reject(error: VhostError): void;
}

/** What a worker tells of a device that it serves. */
export type Report<Statistics> = Extract<
  FromWorker<Statistics>,
  { readonly kind: 'events' | 'counted' }
>;

/** What a {@link WorkerServer} can ask of the thread that it is in. */
export interface ServerLink {
  /** Of the worker, as `worker_threads` numbers them. */
  readonly threadId: number;
  send(request: 'taken' | 'count' | 'close'): void;
  watch(on: boolean): void;
}

/**
 * A device that a worker thread serves: {@link DeviceServer} at a distance. What it emits, it emits a
 * turn or two after it happened there; faults that come faster than this thread takes them are counted
 * and reported as one (`EOVERFLOW`).
 */
export class WorkerServer<Statistics> implements DeviceServer {
  readonly #connections$ = new Subject<Connection>();
  readonly #errors$ = new Subject<ProtocolFault>();
  readonly #state$ = new BehaviorSubject<ServerState>('listening');
  readonly #counts: Count<Statistics>[] = [];
  readonly #ended$ = new Map<number, Subject<void>>();
  #closing: Promise<void> | undefined;
  #over = false;
  #failure: VhostError | undefined;

  readonly connections$: Observable<Connection> = this.#connections$.asObservable();
  /** As of every {@link DeviceServer}; and `EIO` or `ENOMEM` once when the worker itself ended. */
  readonly errors$: Observable<ProtocolFault> = this.#errors$.asObservable();
  readonly state$: Observable<ServerState> = this.#state$.asObservable();
  /** The device. */
  readonly device: RemoteDevice<Statistics>;
  /** The worker that it is in, as `worker_threads` numbers them. */
  readonly threadId: number;

  /** @param shutDown - closes the device over there; resolves when it has closed, and never rejects */
  constructor(
    private readonly link: ServerLink,
    private readonly shutDown: () => Promise<void>,
  ) {
    this.threadId = link.threadId;
    this.device = new RemoteDevice({
      watch: (on) => {
        if (!this.#over) link.watch(on);
      },
      count: () => this.#count(),
    });
  }

  /** Why the worker ended under this device; undefined while it lives, and when the device was closed. */
  get failure(): VhostError | undefined {
    return this.#failure;
  }

  get closed(): Promise<void> {
    return lastValueFrom(this.#state$, { defaultValue: 'closed' }).then(() => undefined);
  }

  /**
   * Stops listening, ends the connection, then closes the device with its backends. Resolves when that
   * is done, and when the worker has ended if this was its last device.
   */
  close(): Promise<void> {
    this.#closing ??= this.#over ? Promise.resolve() : this.shutDown();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** For the thread: a message about this device. */
  receive(message: Report<Statistics>): void {
    switch (message.kind) {
      case 'events':
        this.link.send('taken');
        this.#reportMissed(message.missed);
        for (const event of message.events) this.#emit(event);
        return;
      case 'counted':
        this.#counts.shift()?.resolve(message.statistics);
        return;
    }
  }

  /**
   * For the thread: this device is over.
   * @param errors - what went wrong with that
   * @param statistics - the device's last; undefined where the worker ended without telling
   */
  finish(errors: readonly VhostError[], statistics?: Statistics): void {
    if (this.#over) return;
    this.#over = true;
    if (statistics === undefined) this.#failure = errors[0];
    for (const error of errors) this.#errors$.next({ connection: 0, error });
    for (const connection of [...this.#ended$.keys()]) this.#connectionEnded(connection);
    for (const { resolve, reject } of this.#counts.splice(0)) {
      if (statistics === undefined) reject(untold());
      else resolve(statistics);
    }
    this.device.finish(statistics);
    this.#connections$.complete();
    this.#errors$.complete();
    this.#state$.next('closed');
    this.#state$.complete();
  }

  #emit(event: DeviceEvent<Statistics>): void {
    switch (event.kind) {
      case 'state':
        if (event.state !== this.#state$.value) this.#state$.next(event.state);
        return;
      case 'deviceState':
        this.device.report({ state: event.state });
        return;
      case 'connected': {
        const ended$ = new Subject<void>();
        this.#ended$.set(event.connection, ended$);
        this.#connections$.next({ id: event.connection, pid: event.pid, ended$ });
        return;
      }
      case 'ended':
        this.#connectionEnded(event.connection);
        return;
      case 'protocolFault': {
        const { connection, request } = event;
        const error = vhostErrorFrom(event.error);
        this.#errors$.next({ connection, ...(request !== undefined && { request }), error });
        return;
      }
      case 'queueFault':
        this.device.report({ queue: event.queue, error: vhostErrorFrom(event.error) });
        return;
      case 'statistics':
        this.device.counted(event.statistics);
        return;
    }
  }

  #connectionEnded(connection: number): void {
    const ended$ = this.#ended$.get(connection);
    this.#ended$.delete(connection);
    ended$?.complete();
  }

  #reportMissed(missed: number): void {
    if (missed === 0) return;
    const error = new VhostError(
      'EOVERFLOW',
      `${missed} connections and faults were not passed on`,
    );
    this.#errors$.next({ connection: 0, error });
  }

  #count(): Promise<Statistics> {
    if (this.#over) return Promise.reject(untold());
    return new Promise((resolve, reject) => {
      this.#counts.push({ resolve, reject });
      this.link.send('count');
    });
  }
}

function untold(): VhostError {
  return new VhostError('EIO', 'ask a device for its statistics: its worker ended without telling');
}
