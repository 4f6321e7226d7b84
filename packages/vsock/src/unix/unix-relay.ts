import type { Socket } from 'node:net';
import { VhostError } from '@rxvhost/core';
import type { Connection, ConnectionUser } from '../connection/roles.js';

/**
 * Carries bytes between a Unix socket and a connection of the guest's, in both directions and with
 * back-pressure in both: what one side does not take stays in the other's buffer, and a side that
 * never takes anything holds up nobody else (hazards T70, T74).
 *
 * The two directions end independently. An end of the guest's becomes the socket's, once everything
 * before it is written; an end of the host's is said to the guest behind what is still to be sent.
 */
export class UnixRelay implements ConnectionUser {
  #connection: Connection | undefined;
  /** The socket has more than it wants to hold: wait for `drain`. */
  #socketFull = false;
  /** The guest takes no more: what the host still says is read and thrown away. */
  #deaf = false;
  #hostEnded = false;
  #over = false;

  /**
   * @param socket - half-open and paused; the relay owns it from here on
   * @param onConnected - what is to be done first when a connection that the host asked for is open
   */
  constructor(
    private readonly socket: Socket,
    private readonly onConnected: (connection: Connection) => void = () => {},
  ) {
    socket.on('data', (bytes: Buffer) => this.#fromHost(bytes));
    socket.on('end', () => {
      this.#hostEnded = true;
      this.#connection?.end();
    });
    socket.on('drain', () => {
      this.#socketFull = false;
      this.readable();
    });
    socket.on('error', () => this.#hostGone());
    // Closed after both sides ended: what the guest has not read yet is still sent to it.
    socket.on('close', () => {
      if (!this.#hostEnded || this.#over) this.#hostGone();
    });
  }

  /** Begins to read what the host says. `first` came before and goes first. */
  start(connection: Connection, first: Buffer = Buffer.alloc(0)): void {
    this.#connection = connection;
    if (this.socket.destroyed) {
      this.#hostGone();
      return;
    }
    this.socket.resume();
    if (first.length > 0) this.#fromHost(first);
    this.readable();
  }

  /** A connection that the host asked for, and the guest has yet to accept. */
  await(connection: Connection): void {
    this.#connection = connection;
  }

  connected(): void {
    if (this.#connection !== undefined) this.onConnected(this.#connection);
  }

  readable(): void {
    const connection = this.#connection;
    if (connection === undefined || this.socket.destroyed) return;
    this.socket.cork(); // all pieces in one system call
    while (!this.#socketFull) {
      const bytes = connection.take();
      if (bytes === undefined) break;
      this.#socketFull = !this.socket.write(bytes);
    }
    this.socket.uncork();
    if (this.#socketFull) return;
    if (this.#over) this.socket.destroySoon();
    else if (connection.ended) this.socket.end();
  }

  writable(): void {
    this.socket.resume();
  }

  refusing(): void {
    this.#deaf = true;
    this.socket.resume();
  }

  closed(error: VhostError | undefined): void {
    this.#over = true;
    if (error === undefined) {
      this.readable();
      return;
    }
    this.#connection?.abort(); // keeps nothing that nobody will take
    this.socket.destroy();
  }

  #fromHost(bytes: Buffer): void {
    const connection = this.#connection;
    if (connection === undefined || this.#deaf || this.#over) return;
    try {
      if (!connection.send(bytes)) this.socket.pause();
    } catch {
      this.#deaf = true; // it takes no more, and said so just now
    }
  }

  /** Nobody reads any more: a guest that goes on sending gets an RST, what it has sent is dropped. */
  #hostGone(): void {
    this.#over = true;
    this.#connection?.abort(new VhostError('ECONNRESET', 'the socket of the host has gone'));
  }
}
