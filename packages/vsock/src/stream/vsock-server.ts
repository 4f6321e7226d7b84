import { EventEmitter } from 'node:events';
import { VhostError } from '@rxvhost/core';
import { type Observable, Subject } from 'rxjs';
import type {
  Acceptor,
  ConnectionRequest,
  ConnectionType,
  VsockAddress,
} from '../connection/roles.js';
import type { VsockEndpoint } from '../connection/vsock-endpoint.js';
import { type MessageSocketOptions, VsockMessageSocket } from './vsock-message-socket.js';
import { type SocketOptions, VsockSocket } from './vsock-socket.js';

/** How a server and the sockets that it makes behave. */
export interface ServerOptions extends MessageSocketOptions {
  /** What it accepts; `stream` by default, `seqpacket` gives {@link VsockMessageSocket}s. */
  readonly type?: ConnectionType;
}

/** Where {@link VsockServer.listen} listens. */
export interface ListenOptions {
  /** A free one by default. */
  readonly port?: number;
  /** Closes the server. */
  readonly signal?: AbortSignal;
}

/**
 * Listens on a vsock port, as `net.Server` does. Emits `listening`, `connection`, `close` and
 * `error`.
 */
export class VsockServer extends EventEmitter {
  /** No more connections than these at a time; as many as the endpoint takes by default. */
  maxConnections = Number.POSITIVE_INFINITY;
  readonly #sockets = new Set<VsockSocket>();
  readonly #connections = new Subject<VsockSocket>();
  readonly #acceptor: Acceptor = { request: (request) => this.#request(request) };
  #address: VsockAddress | undefined;
  #stop: (() => void) | undefined;
  #closing = false;

  /** Accepted connections, for as long as there is the server: it may listen again after a close. */
  readonly connections$: Observable<VsockSocket> = this.#connections.asObservable();

  constructor(
    private readonly endpoint: VsockEndpoint,
    private readonly options: ServerOptions = {},
  ) {
    super();
  }

  get listening(): boolean {
    return this.#stop !== undefined;
  }

  /** Where it listens; undefined when it does not. */
  address(): VsockAddress | undefined {
    return this.#address;
  }

  /** Calls back with the number of connections there are. */
  getConnections(listener: (error: Error | null, count: number) => void): this {
    listener(null, this.#sockets.size);
    return this;
  }

  /**
   * Listens; `listening` follows in a later turn. Throws `EADDRINUSE` where somebody listens already,
   * `EINVAL` for no port or when it listens already.
   */
  listen(where: number | ListenOptions = {}, listener?: () => void): this {
    const { port = this.endpoint.freePort(), signal } =
      typeof where === 'number' ? { port: where } : where;
    if (this.listening) throw new VhostError('EINVAL', 'this server listens already');
    if (listener !== undefined) this.once('listening', listener);
    this.#stop = this.endpoint.listen(port, this.#acceptor, this.options.type);
    this.#address = { cid: this.endpoint.cid, port };
    this.#closing = false;
    process.nextTick(() => this.listening && this.emit('listening'));
    if (signal?.aborted) this.close();
    else signal?.addEventListener('abort', () => this.close(), { once: true });
    return this;
  }

  /** Listens no more; `close` follows when the last connection has ended. */
  close(listener?: (error?: Error) => void): this {
    if (listener !== undefined) this.once('close', listener);
    this.#stop?.();
    this.#stop = undefined;
    this.#address = undefined;
    this.#closing = true;
    process.nextTick(() => this.#closeIfDone());
    return this;
  }

  /** Destroys every connection that there is. */
  closeAllConnections(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  /** Sockets do not keep the process alive, nor does a server; both calls change nothing. */
  ref(): this {
    return this;
  }

  unref(): this {
    return this;
  }

  /** Closes the server and its connections. */
  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise<void>((resolve) => this.close(() => resolve()));
    this.closeAllConnections();
    await closed;
  }

  #request(request: ConnectionRequest): void {
    if (this.#sockets.size >= this.maxConnections) {
      request.refuse();
      return;
    }
    const socket = newSocket(request.type, this.options);
    const connection = request.accept(socket.user);
    if (connection === undefined) return;
    connection.setBufferSize(socket.bufferSizes.size);
    this.#sockets.add(socket);
    socket.once('close', () => {
      this.#sockets.delete(socket);
      this.#closeIfDone();
    });
    socket.attach(connection, true);
    this.#connections.next(socket);
    this.emit('connection', socket);
  }

  #closeIfDone(): void {
    if (!this.#closing || this.#sockets.size > 0) return;
    this.#closing = false;
    this.emit('close');
  }
}

/** A socket for a connection of this type. */
export function newSocket(
  type: ConnectionType,
  options: SocketOptions & MessageSocketOptions,
): VsockSocket {
  return type === 'stream' ? new VsockSocket(options) : new VsockMessageSocket(options);
}
