import type {
  Connection,
  ConnectionRequest,
  ConnectionType,
  ConnectionUser,
  VsockAddress,
} from './roles.js';
import type { VsockConnection } from './vsock-connection.js';

/** A peer's wish for a connection, as an acceptor sees it. */
export class IncomingRequest implements ConnectionRequest {
  readonly type: ConnectionType;
  readonly local: VsockAddress;
  readonly remote: VsockAddress;

  #accepted = false;

  constructor(private readonly connection: VsockConnection) {
    this.type = connection.type;
    this.local = connection.local;
    this.remote = connection.remote;
  }

  get withdrawn(): boolean {
    return this.connection.closed;
  }

  accept(user: ConnectionUser): Connection | undefined {
    if (!this.connection.accept(user)) return undefined;
    this.#accepted = true;
    return this.connection;
  }

  refuse(): void {
    if (!this.#accepted) this.connection.abort();
  }
}
