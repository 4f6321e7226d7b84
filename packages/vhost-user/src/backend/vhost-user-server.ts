import { VhostError, type VirtioDevice } from '@rxvhost/core';
import { closeFd, setNonBlocking, UnixListener, unixPeer } from '@rxvhost/sys';
import {
  BehaviorSubject,
  lastValueFrom,
  type Observable,
  Subject,
  type Subscription,
  take,
} from 'rxjs';
import { BackendSession } from './backend-session.js';
import { DeviceRequests } from './device-requests.js';
import type { Connection, DeviceServer, ServerState } from './device-server.js';
import { FrontendDialer } from './frontend-dialer.js';
import { channelReports, type ProtocolFault, type TraceEvent } from './session-events.js';

/** Where a server meets its front-ends. */
export type ServeOptions = {
  /** End after the first front-end instead of waiting for the next. With `fd` always so. */
  readonly once?: boolean;
} & (
  | {
      /** Path of the Unix socket to listen on, at most 107 bytes. */
      readonly socketPath: string;
    }
  | {
      /**
       * Path of a Unix socket on which the front-end listens (DPDK's `server=1`): connects there,
       * again and again until somebody answers, and once more when the front-end has gone.
       */
      readonly connectPath: string;
    }
  | {
      /** A connected Unix stream socket that was inherited; the server owns it from here on. */
      readonly fd: number;
    }
);

/**
 * Serves one {@link VirtioDevice} to front-ends over vhost-user, one after the other. While one is
 * connected the others wait in the socket's backlog; when it goes, by whatever death, the device is
 * reset and the next one is taken. The device is the caller's: closing the server resets it only.
 */
export class VhostUserServer implements DeviceServer {
  readonly #connections$ = new Subject<Connection>();
  readonly #errors$ = new Subject<ProtocolFault>();
  readonly #trace$ = new Subject<TraceEvent>();
  readonly #state$ = new BehaviorSubject<ServerState>('listening');
  readonly #listener: UnixListener | FrontendDialer | undefined;
  readonly #once: boolean;
  #accepting: Subscription | undefined;
  #session: BackendSession | undefined;
  #settled: Promise<void> = Promise.resolve();
  #closing: Promise<void> | undefined;
  #connectionCount = 0;
  #owning = false;

  /** Emits each front-end as it connects, before its first request is read. */
  readonly connections$: Observable<Connection> = this.#connections$;
  /** What front-ends did wrong, and what could not be done for them. */
  readonly errors$: Observable<ProtocolFault> = this.#errors$;
  /** Every message, decoded. Costs nothing while nobody subscribes. */
  readonly trace$: Observable<TraceEvent> = this.#trace$;
  /** The current state on subscription, then every change. Completes after `closed`. */
  readonly state$: Observable<ServerState> = this.#state$;

  /**
   * Listens at once. A front-end is served from the next turn of the event loop on, so that whoever
   * made the server can subscribe first.
   *
   * Throws what {@link UnixListener} throws for the path: `EADDRINUSE` when a live server has it,
   * `EEXIST` when something stands there that is no socket, `ENAMETOOLONG`, `EACCES`, `ENOENT`; for
   * an `fd` what `unixPeer` throws when it is no connected Unix stream socket.
   */
  constructor(
    readonly device: VirtioDevice,
    options: ServeOptions,
  ) {
    if ('fd' in options) {
      const { fd } = options;
      unixPeer(fd);
      setNonBlocking(fd);
      this.#once = true;
      // Not before whoever made the server could subscribe.
      setImmediate(() => this.#connect(fd));
    } else {
      this.#once = options.once ?? false;
      this.#listener =
        'socketPath' in options
          ? new UnixListener(options.socketPath)
          : new FrontendDialer(options.connectPath);
      this.#listener.errors$.subscribe((error) => {
        this.#report(0, error, 'front-ends have to wait');
      });
      this.#acceptNext();
    }
  }

  /** Resolves when the server has closed, by {@link close} or because it served only once. */
  get closed(): Promise<void> {
    return lastValueFrom(this.#state$, { defaultValue: 'closed' }).then(() => undefined);
  }

  /**
   * Stops listening, removes the socket file, ends the connection and resets the device. Resolves
   * when the device has come to rest. Later calls return the same promise.
   */
  close(): Promise<void> {
    this.#closing ??= this.#shutDown();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #shutDown(): Promise<void> {
    this.#accepting?.unsubscribe();
    this.#listener?.close();
    this.#session?.end();
    await this.#settled;
    this.#connections$.complete();
    this.#errors$.complete();
    this.#trace$.complete();
    this.#state$.next('closed');
    this.#state$.complete();
  }

  #acceptNext(): void {
    this.#accepting = this.#listener?.connections$.pipe(take(1)).subscribe({
      next: (fd) => this.#connect(fd),
      error: (error: unknown) => {
        this.#report(0, error, 'no more front-ends can be accepted');
        void this.close();
      },
    });
  }

  #connect(fd: number): void {
    if (this.#closing !== undefined) {
      closeFd(fd);
      return;
    }
    this.#connectionCount += 1;
    const reports = { errors$: this.#errors$, trace$: this.#trace$ };
    const connection = this.#connectionCount;
    const requests = new DeviceRequests(this.device, channelReports(connection, reports));
    const session = new BackendSession(connection, fd, requests, reports);
    this.#session = session;
    session.ended$.subscribe({
      complete: () => {
        this.#settled = this.#afterSession(session, requests);
      },
    });
    this.#state$.next('connected');
    this.#connections$.next({ id: session.id, pid: unixPeer(fd), ended$: session.ended$ });
    try {
      this.device.setOwner();
      this.#owning = true;
    } catch (error) {
      this.#report(session.id, error, 'the device has another owner');
      session.end();
      return;
    }
    session.start();
  }

  async #afterSession(session: BackendSession, requests: DeviceRequests): Promise<void> {
    this.#session = undefined;
    try {
      if (this.#owning) await this.device.reset();
      else await undefined; // not the next one from within the acceptance of this one
    } catch (error) {
      this.#report(session.id, error, 'the device could not be reset');
    }
    requests.release();
    this.#owning = false;
    if (this.#closing !== undefined) return;
    if (this.#once) {
      void this.close();
      return;
    }
    this.#state$.next('listening');
    this.#acceptNext();
  }

  #report(connection: number, cause: unknown, message: string): void {
    const code = cause instanceof VhostError ? cause.code : 'EIO';
    const error = new VhostError(code, message, { cause });
    this.#errors$.next({ connection, error });
  }
}

/**
 * Serves `device` over vhost-user at a socket path or on an inherited socket. Errors as the
 * constructor of {@link VhostUserServer}, as rejections.
 */
export async function serve(device: VirtioDevice, options: ServeOptions): Promise<VhostUserServer> {
  return new VhostUserServer(device, options);
}
