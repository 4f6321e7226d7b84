import { addAbortSignal } from 'node:stream';
import { VhostError } from '@rxvhost/core';
import { interval, map, type Observable, Subject, startWith } from 'rxjs';
import type { ConnectionType } from '../connection/roles.js';
import type { EndpointStatistics } from '../connection/statistics.js';
import type { VsockEndpoint } from '../connection/vsock-endpoint.js';
import type { VsockEvent } from '../connection/vsock-events.js';
import { DATAGRAMS } from './datagrams.js';
import type { MessageSocketOptions, VsockMessageSocket } from './vsock-message-socket.js';
import { newSocket, type ServerOptions, VsockServer } from './vsock-server.js';
import type { VsockSocket } from './vsock-socket.js';

const STATISTICS_PERIOD = 1000;

/** Where to connect, and how the socket behaves. */
export interface SocketConnectOptions extends MessageSocketOptions {
  /** The machine: 2 is the host. */
  readonly cid: number;
  readonly port: number;
  /** Our port; a free one by default. */
  readonly localPort?: number;
  /** `stream` by default; `dgram` is refused with `EOPNOTSUPP` (seed D8). */
  readonly type?: ConnectionType | 'dgram';
  /** Milliseconds for the peer's answer; 2000 by default. */
  readonly connectTimeout?: number;
  /** Destroys the socket. */
  readonly signal?: AbortSignal;
}

/**
 * Sockets over one endpoint: what `node:net` is for the machine's own network.
 *
 * ```ts
 * const server = vsock.createServer((socket) => socket.pipe(socket)).listen(1234);
 * const socket = vsock.connect({ cid: 2, port: 1234 });
 * ```
 */
export class Vsock {
  /** Datagram sockets, which virtio does not have. */
  readonly datagrams = DATAGRAMS;
  readonly #connections = new Subject<VsockSocket>();

  /** Every connection that one of its servers has accepted. */
  readonly connections$: Observable<VsockSocket> = this.#connections.asObservable();
  /** Connections that begin and end, and resets of the transport. */
  readonly events$: Observable<VsockEvent>;
  /** Counters, at once and every second while subscribed. */
  readonly stats$: Observable<EndpointStatistics>;

  constructor(readonly endpoint: VsockEndpoint) {
    this.events$ = endpoint.events$;
    this.stats$ = interval(STATISTICS_PERIOD).pipe(
      startWith(0),
      map(() => endpoint.statistics()),
    );
  }

  /** Our address. */
  get cid(): number {
    return this.endpoint.cid;
  }

  /** A server that does not listen yet. */
  createServer(listener?: (socket: VsockSocket) => void): VsockServer;
  createServer(options: ServerOptions, listener?: (socket: VsockSocket) => void): VsockServer;
  createServer(
    options: ServerOptions | ((socket: VsockSocket) => void) = {},
    listener?: (socket: VsockSocket) => void,
  ): VsockServer {
    const [all, first] = typeof options === 'function' ? [{}, options] : [options, listener];
    const server = new VsockServer(this.endpoint, all);
    server.connections$.subscribe((socket) => this.#connections.next(socket));
    if (first !== undefined) server.on('connection', first);
    return server;
  }

  /**
   * Connects; the socket emits `connect`, or `error` with `ECONNREFUSED`, `ETIMEDOUT` and so on. Throws
   * `EINVAL`, `EADDRINUSE`, `EADDRNOTAVAIL`, `ENOBUFS`, `EPROTONOSUPPORT` as
   * {@link VsockEndpoint.connect}, and `EOPNOTSUPP` for datagrams.
   */
  connect(
    options: SocketConnectOptions & { readonly type: 'seqpacket' },
    listener?: () => void,
  ): VsockMessageSocket;
  connect(options: SocketConnectOptions, listener?: () => void): VsockSocket;
  connect(options: SocketConnectOptions, listener?: () => void): VsockSocket {
    const { type = 'stream', signal, cid, port, localPort, connectTimeout, bufferSize } = options;
    if (type === 'dgram') throw new VhostError('EOPNOTSUPP', 'vsock: virtio carries no datagrams');
    const socket = newSocket(type, options);
    const connection = this.endpoint.connect(
      {
        cid,
        port,
        type,
        ...(localPort !== undefined && { localPort }),
        ...(connectTimeout !== undefined && { connectTimeout }),
        ...(bufferSize !== undefined && { bufferSize }),
      },
      socket.user,
    );
    if (listener !== undefined) socket.once('connect', listener);
    socket.attach(connection, false);
    return signal === undefined ? socket : addAbortSignal(signal, socket);
  }
}
