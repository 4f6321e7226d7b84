import { toVhostError, type VhostError } from '@rxvhost/core';
import type { ConnectOptions } from '../connection/endpoint-options.js';
import type { Connection, ConnectionRequest, ConnectionUser } from '../connection/roles.js';
import type { VsockEndpoint } from '../connection/vsock-endpoint.js';

/**
 * Accepts a connection once another one is open that goes on from there, and carries everything from
 * each to the other: bytes or messages, ends, resets. Either guest has credit with us, not with the
 * other, so that neither can hold up or flood the other's remaining connections.
 *
 * @param onward - where to; the type is that of the request
 */
export function relay(
  request: ConnectionRequest,
  endpoint: VsockEndpoint,
  onward: Pick<ConnectOptions, 'cid' | 'port'>,
): void {
  const near = new RelaySide();
  const far = new RelaySide(() => {
    const connection = request.accept(near);
    if (connection === undefined) {
      far.connection?.abort(); // it did not wait
      return;
    }
    near.connection = connection;
    near.other = far;
    far.other = near;
  }, request);
  try {
    far.connection = endpoint.connect({ ...onward, type: request.type }, far);
  } catch {
    request.refuse();
  }
}

/** The user of one of the two connections. */
class RelaySide implements ConnectionUser {
  connection: Connection | undefined;
  other: RelaySide | undefined;
  /** Our connection takes no more for now. */
  #full = false;
  /** Our connection takes no more at all: what is for it is thrown away. */
  #deaf = false;
  #over = false;

  /** @param request - refused when the connection ends before there was another side */
  constructor(
    private readonly onConnected: () => void = () => {},
    private readonly request?: ConnectionRequest,
  ) {}

  connected(): void {
    this.onConnected();
    this.readable();
  }

  readable(): void {
    const { connection, other } = this;
    if (connection === undefined || other === undefined) return;
    while (!other.#full && this.#pass(connection, other));
    if (other.#full || !connection.ended) return;
    if (this.#over) other.connection?.close();
    else other.connection?.end();
  }

  writable(): void {
    this.#full = false;
    this.other?.readable();
  }

  refusing(): void {
    this.#deaf = true;
    this.#full = false;
    this.other?.readable();
  }

  closed(error: VhostError | undefined): void {
    this.#deaf = true;
    this.#full = false;
    const { other } = this;
    if (other === undefined) {
      this.request?.refuse();
      return;
    }
    if (error !== undefined) {
      this.connection?.abort(); // keeps nothing that nobody will take
      other.connection?.abort(error);
      return;
    }
    this.#over = true;
    this.readable();
    other.readable();
  }

  /** One piece from our connection to the other one. False when there is none. */
  #pass(connection: Connection, other: RelaySide): boolean {
    if (connection.type === 'stream') {
      const bytes = connection.take();
      if (bytes === undefined) return false;
      other.#give(bytes, false);
      return true;
    }
    const message = connection.takeMessage();
    if (message === undefined) return false;
    other.#give(message.bytes, message.endOfRecord);
    return true;
  }

  #give(bytes: Uint8Array, endOfRecord: boolean): void {
    if (this.#deaf || this.connection === undefined) return;
    try {
      this.#full = !this.connection.send(bytes, undefined, endOfRecord);
    } catch (error) {
      // A message that the other guest could never take in, for example: both sides hear of it.
      this.connection.abort(toVhostError(error));
    }
  }
}
