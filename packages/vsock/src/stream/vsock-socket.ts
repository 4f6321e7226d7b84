import { Duplex } from 'node:stream';
import { VhostError } from '@rxvhost/core';
import type { Connection, ConnectionUser, VsockAddress } from '../connection/roles.js';
import { BufferSizes } from './buffer-sizes.js';
import { InactivityTimer } from './inactivity-timer.js';

const HIGH_WATER_MARK = 256 * 1024;

/** How a socket behaves. */
export interface SocketOptions {
  /** Whether the socket stays writable after the peer has ended; false by default, as in `node:net`. */
  readonly allowHalfOpen?: boolean;
  /** Bytes of each direction's stream buffer; 256 KiB by default, beside the connection's own. */
  readonly highWaterMark?: number;
  /** Bytes that the peer may send before they are read; 256 KiB by default. */
  readonly bufferSize?: number;
}

type Done = (error?: Error | null) => void;

/**
 * A vsock connection as a `Duplex` stream, with the manners of `net.Socket`: `http` servers and
 * agents take it for one. Emits `connect`, `ready`, `timeout` and what streams emit. Errors are
 * `VhostError`s: `ECONNREFUSED`, `ECONNRESET`, `ETIMEDOUT`, `EPIPE`, …
 *
 * Written chunks are taken by reference and copied once, into guest memory; the write's callback
 * comes after that.
 */
export class VsockSocket extends Duplex {
  /** Bytes received and given to the stream, and bytes that the stream has given to be sent. */
  bytesRead = 0;
  bytesWritten = 0;
  readonly remoteFamily = 'vsock';
  #connection: Connection | undefined;
  #connecting = true;
  /** What waits for the connection: a write, or the end. */
  #held: (() => void) | undefined;
  #wanted = false;
  #endSeen = false;
  #timeout = 0;
  readonly #timer = new InactivityTimer(() => this.emit('timeout'));
  readonly #sizes: BufferSizes;

  constructor(options: SocketOptions = {}, messages = false) {
    super({
      allowHalfOpen: options.allowHalfOpen ?? false,
      ...(messages
        ? { objectMode: true, decodeStrings: false }
        : { highWaterMark: options.highWaterMark ?? HIGH_WATER_MARK }),
    });
    this.#sizes = new BufferSizes(options.bufferSize);
  }

  /** What the connection beneath tells this socket. */
  readonly user: ConnectionUser = {
    connected: () => this.#connected(),
    readable: () => this.#flow(),
    writable: () => {},
    refusing: () => {
      if (this.writableLength > 0) this.destroy(new VhostError('EPIPE', 'the peer takes no more'));
    },
    closed: (error) => {
      if (error !== undefined) this.destroy(error);
      else this.#flow();
    },
  };

  /** Binds the socket to its connection; `open` when the connection needs no answer any more. */
  attach(connection: Connection, open: boolean): this {
    this.#connection = connection;
    if (open) this.#connected();
    return this;
  }

  /** True until the peer has accepted. */
  get connecting(): boolean {
    return this.#connecting && !this.destroyed;
  }

  get pending(): boolean {
    return this.connecting;
  }

  get readyState(): 'opening' | 'open' | 'readOnly' | 'writeOnly' | 'closed' {
    if (this.connecting) return 'opening';
    if (this.readable) return this.writable ? 'open' : 'readOnly';
    return this.writable ? 'writeOnly' : 'closed';
  }

  get remoteCid(): number | undefined {
    return this.#connection?.remote.cid;
  }

  get remotePort(): number | undefined {
    return this.#connection?.remote.port;
  }

  get localCid(): number | undefined {
    return this.#connection?.local.cid;
  }

  get localPort(): number | undefined {
    return this.#connection?.local.port;
  }

  /** The peer's CID as text: what programs for IP sockets print. */
  get remoteAddress(): string | undefined {
    return this.remoteCid?.toString();
  }

  get localAddress(): string | undefined {
    return this.localCid?.toString();
  }

  /** Our end; undefined before there is a connection. */
  address(): VsockAddress | undefined {
    return this.#connection?.local;
  }

  /** Milliseconds of {@link setTimeout}; 0 for none. */
  get timeout(): number {
    return this.#timeout;
  }

  /** Emits `timeout` when nothing has happened for so long, and again after that; 0 for never. */
  setTimeout(milliseconds: number, listener?: () => void): this {
    this.#timeout = milliseconds;
    if (listener !== undefined) {
      if (milliseconds === 0) this.removeListener('timeout', listener);
      else this.once('timeout', listener);
    }
    this.#timer.set(milliseconds);
    return this;
  }

  /** Sizes of the receive buffer; change them with {@link setBufferSizes}. */
  get bufferSizes(): { readonly size: number; readonly min: number; readonly max: number } {
    const { size, min, max } = this.#sizes;
    return { size, min, max };
  }

  /** Changes the receive buffer's size or its bounds, in bytes (see {@link BufferSizes}). Throws `EINVAL`. */
  setBufferSizes(sizes: { size?: number; min?: number; max?: number }): this {
    if (sizes.min !== undefined) this.#sizes.setMin(sizes.min);
    if (sizes.max !== undefined) this.#sizes.setMax(sizes.max);
    if (sizes.size !== undefined) this.#sizes.setSize(sizes.size);
    this.#connection?.setBufferSize(this.#sizes.size);
    return this;
  }

  /** There is no algorithm to turn off: small writes travel together only while others are on the way. */
  setNoDelay(_noDelay?: boolean): this {
    return this;
  }

  /** A vsock peer cannot vanish unseen: the transport tells. */
  setKeepAlive(_enable?: boolean, _initialDelay?: number): this {
    return this;
  }

  /** The carrier beneath keeps the process alive, sockets do not; both calls change nothing. */
  ref(): this {
    return this;
  }

  unref(): this {
    return this;
  }

  /** Destroys the socket when everything written has been sent. */
  destroySoon(): void {
    if (this.writable) this.end();
    if (this.writableFinished) this.destroy();
    else this.once('finish', () => this.destroy());
  }

  /** Ends the connection with an RST. */
  resetAndDestroy(): this {
    this.#connection?.abort();
    return this.destroy();
  }

  override _read(): void {
    this.#wanted = true;
    this.#flow();
  }

  override _write(chunk: Uint8Array, _encoding: BufferEncoding, done: Done): void {
    this.whenConnected(done, (connection) => this.sendChunk(connection, chunk, done));
  }

  override _writev(chunks: { chunk: Uint8Array }[], done: Done): void {
    this.whenConnected(done, (connection) => {
      const last = chunks.length - 1;
      for (const [index, { chunk }] of chunks.entries()) {
        this.sendChunk(connection, chunk, index === last ? done : undefined);
      }
    });
  }

  override _final(done: Done): void {
    this.whenConnected(done, (connection) => {
      connection.end();
      done();
    });
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    const connection = this.#connection;
    this.#timer.stop();
    this.#held = undefined;
    if (connection !== undefined) {
      const lost = connection.untakenBytes + connection.unsentBytes + this.readableLength;
      if (error !== null || lost > 0 || connection.closed) connection.abort();
      else connection.close();
    }
    done(error);
  }

  /** Hands one chunk to the connection; `done` comes when it has gone. */
  protected sendChunk(connection: Connection, chunk: Uint8Array, done: Done | undefined): void {
    this.bytesWritten += chunk.length;
    connection.send(chunk, done);
  }

  /** The next chunk for the reader; undefined when there is none. */
  protected takeChunk(connection: Connection): { chunk: unknown; length: number } | undefined {
    const chunk = connection.take();
    return chunk && { chunk, length: chunk.length };
  }

  /** Does something with the connection when it is open; a caller's fault goes to `done`. */
  protected whenConnected(done: Done, act: (connection: Connection) => void): void {
    const connection = this.#connection;
    if (connection === undefined || this.#connecting) {
      this.#held = () => this.whenConnected(done, act);
      return;
    }
    this.#timer.refresh();
    try {
      act(connection);
    } catch (error) {
      done(error as Error);
    }
  }

  #connected(): void {
    this.#connecting = false;
    this.emit('connect');
    this.emit('ready');
    const held = this.#held;
    this.#held = undefined;
    held?.();
    this.#flow();
  }

  /** Gives the reader what has come, as long as it wants more. */
  #flow(): void {
    const connection = this.#connection;
    if (connection === undefined || this.destroyed || this.#endSeen) return;
    while (this.#wanted) {
      const next = this.takeChunk(connection);
      if (next === undefined) break;
      this.bytesRead += next.length;
      this.#timer.refresh();
      if (!this.push(next.chunk)) this.#wanted = false;
    }
    if (!connection.ended) return;
    this.#endSeen = true;
    this.push(null);
  }
}
