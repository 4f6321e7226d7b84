/**
 * The hybrid scheme by which programs on the host use a guest's vsock without an address family of
 * their own: plain Unix sockets, as Firecracker has introduced it and other VMMs have taken it up.
 *
 * *From the host.* A program connects to the socket at `path`, and writes `CONNECT 52\n` for port 52
 * of the guest. When something listens there it reads `OK 1073741824\n`, with the port that its end
 * was given, and from then on everything goes to and from the guest. Otherwise the socket is closed.
 *
 * *From the guest.* A connection to port 52 of the host (CID 2) goes to whoever listens on the socket
 * at `path_52`; when nobody does, it is refused.
 */
import { connect, Socket } from 'node:net';
import { errnoName, toVhostError, VhostError } from '@rxvhost/core';
import { UnixListener } from '@rxvhost/sys';
import { merge, type Observable, Subject, type Subscription } from 'rxjs';
import type { Acceptor, Connection, ConnectionRequest } from '../connection/roles.js';
import type { VsockEndpoint } from '../connection/vsock-endpoint.js';
import { ConnectLine } from './connect-line.js';
import { UnixRelay } from './unix-relay.js';

/** Milliseconds that a program may take for its line. */
const LINE_TIMEOUT = 10_000;
/** Programs that may be at their line at once; the others wait to be accepted (hazard T75). */
const MOST_WAITING = 64;
/** Programs that may wait to be accepted, as far as the kernel lets them. */
const BACKLOG = 4096;
/** Bytes that a socket of the host's may be given before it has taken any. */
const WRITE_AHEAD = 128 * 1024;

/** What has passed the gateway. Counts only go up. */
export interface GatewayCounters {
  /** Connections from the host that the guest has accepted. */
  hostConnections: number;
  /** Connections from the guest that somebody on the host has accepted. */
  guestConnections: number;
  /** Programs of the host's that wrote no CONNECT line, or not in time. */
  badLines: number;
  /** Connections from the guest that nobody on the host took. */
  refused: number;
}

/**
 * Bytes that a guest may have under way on a connection. It hears of room a quarter of this at a
 * time, and each time costs it an interrupt.
 */
const LARGE_BUFFER = 1 << 20;
/** Connections that have so much; later ones have what the endpoint gives by itself. */
const MOST_LARGE = 64;

const SOCKET_OPTIONS = { allowHalfOpen: true, writableHighWaterMark: WRITE_AHEAD };

/** One guest's vsock as Unix sockets; see the top of the file. */
export class UnixGateway implements Acceptor {
  readonly #listener: UnixListener;
  readonly #errors$ = new Subject<VhostError>();
  readonly #counters: GatewayCounters = {
    hostConnections: 0,
    guestConnections: 0,
    badLines: 0,
    refused: 0,
  };
  /** Sockets of the host's, at their line or behind it. */
  readonly #sockets = new Set<Socket>();
  #accepting: Subscription | undefined;
  #atLine = 0;
  #large = 0;
  #closed = false;

  /** What the machine lacks to connect somebody: descriptors, permissions. */
  readonly errors$: Observable<VhostError>;

  /**
   * Listens at once. Throws what {@link UnixListener} throws for the path: `EADDRINUSE`, `EEXIST`,
   * `ENAMETOOLONG`, `EACCES`, `ENOENT`.
   *
   * @param endpoint - whose ports that nobody listens on become the gateway's
   * @param path - of the Unix socket, short enough that `_` and a port fit behind it
   * @param guestCid - the guest's address
   */
  constructor(
    private readonly endpoint: VsockEndpoint,
    readonly path: string,
    private readonly guestCid: () => number,
  ) {
    this.#listener = new UnixListener(path, BACKLOG);
    this.errors$ = merge(this.#errors$, this.#listener.errors$);
    endpoint.setFallback(this);
    this.#accept();
  }

  /** The counters as they are now. */
  get counters(): GatewayCounters {
    return { ...this.#counters };
  }

  /** The guest asks for a port of the host's. */
  request(request: ConnectionRequest): void {
    // There is nothing like it among Node's Unix sockets.
    if (request.type === 'seqpacket') {
      this.#refuse(request);
      return;
    }
    const path = `${this.path}_${request.local.port}`;
    const socket = connect({ path, ...SOCKET_OPTIONS });
    this.#keep(socket);
    const failed = (error: Error) => {
      this.#report(path, error);
      this.#refuse(request);
    };
    socket.once('error', failed);
    socket.once('connect', () => {
      socket.off('error', failed);
      const relay = new UnixRelay(socket);
      const connection = request.accept(relay);
      if (connection === undefined) {
        socket.destroy(); // the guest did not wait
        return;
      }
      this.#counters.guestConnections += 1;
      this.#widen(connection, socket);
      relay.start(connection);
    });
  }

  /** Stops listening, removes the socket file and ends every connection. Later calls do nothing. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#accepting?.unsubscribe();
    this.#listener.close();
    this.endpoint.setFallback(undefined);
    for (const socket of this.#sockets) socket.destroy();
    this.#errors$.complete();
  }

  #accept(): void {
    if (this.#closed || this.#atLine >= MOST_WAITING) return;
    this.#accepting = this.#listener.connections$.subscribe({
      next: (fd) => {
        this.#readLine(new Socket({ fd, readable: true, writable: true, ...SOCKET_OPTIONS }));
        if (this.#atLine >= MOST_WAITING) this.#accepting?.unsubscribe();
      },
      error: (error: unknown) => this.#errors$.next(toVhostError(error)),
    });
  }

  #readLine(socket: Socket): void {
    this.#keep(socket);
    this.#atLine += 1;
    const line = new ConnectLine();
    const timer = setTimeout(() => giveUp(), LINE_TIMEOUT);
    const done = () => {
      clearTimeout(timer);
      socket.off('data', onData).off('end', giveUp).off('error', giveUp);
      if (this.#atLine === MOST_WAITING) setImmediate(() => this.#accept());
      this.#atLine -= 1;
    };
    const giveUp = () => {
      done();
      this.#counters.badLines += 1;
      socket.on('error', () => {}).destroy();
    };
    const onData = (bytes: Buffer) => {
      const request = line.push(bytes);
      switch (request.kind) {
        case 'incomplete':
          return;
        case 'invalid':
          giveUp();
          return;
        case 'complete':
          socket.pause();
          done();
          this.#connect(socket, request.port, request.rest);
          return;
      }
    };
    socket.on('data', onData).on('end', giveUp).on('error', giveUp);
  }

  #connect(socket: Socket, port: number, rest: Buffer): void {
    const relay = new UnixRelay(socket, (connection) => {
      this.#counters.hostConnections += 1;
      this.#widen(connection, socket);
      socket.write(`OK ${connection.local.port}\n`);
      relay.start(connection, rest);
    });
    try {
      relay.await(this.endpoint.connect({ cid: this.guestCid(), port }, relay));
    } catch (error) {
      this.#errors$.next(toVhostError(error));
      socket.destroy();
    }
  }

  #widen(connection: Connection, socket: Socket): void {
    if (this.#large >= MOST_LARGE || socket.destroyed) return;
    this.#large += 1;
    socket.once('close', () => {
      this.#large -= 1;
    });
    connection.setBufferSize(LARGE_BUFFER);
  }

  #refuse(request: ConnectionRequest): void {
    this.#counters.refused += 1;
    request.refuse();
  }

  /** Nobody listens there: the usual reason, and none to complain. */
  #report(path: string, error: Error): void {
    const { code, errno = 0 } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ECONNREFUSED' || this.#closed) return;
    const name = errnoName(Math.abs(errno));
    this.#errors$.next(new VhostError(name, `connect to ${path}`, { cause: error }));
  }

  #keep(socket: Socket): void {
    this.#sockets.add(socket);
    socket.once('close', () => this.#sockets.delete(socket));
  }
}
