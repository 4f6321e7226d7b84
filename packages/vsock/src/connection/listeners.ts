import { VhostError } from '@rxvhost/core';
import { isPort } from '../protocol/limits.js';
import type { Acceptor, ConnectionType } from './roles.js';

/** Who listens where. */
interface Listening {
  readonly type: ConnectionType;
  readonly acceptor: Acceptor;
}

/** The ports that somebody listens on, and who is asked about all others. */
export class Listeners {
  readonly #ports = new Map<number, Listening>();

  /** @param fallback - asked where nobody listens; without one such requests are refused */
  constructor(public fallback: Acceptor | undefined) {}

  /** Throws `EINVAL` for no port, `EADDRINUSE` where somebody listens already. */
  add(port: number, type: ConnectionType, acceptor: Acceptor): void {
    if (!isPort(port)) throw new VhostError('EINVAL', `${port} is no vsock port`);
    if (this.#ports.has(port)) {
      throw new VhostError('EADDRINUSE', `somebody listens on vsock port ${port}`);
    }
    this.#ports.set(port, { type, acceptor });
  }

  /** Takes a listener away; what is there instead stays. */
  remove(port: number, acceptor: Acceptor): void {
    if (this.#ports.get(port)?.acceptor === acceptor) this.#ports.delete(port);
  }

  has(port: number): boolean {
    return this.#ports.has(port);
  }

  /** Who decides about a connection of this type to this port. */
  find(port: number, type: ConnectionType): Acceptor | undefined {
    const listening = this.#ports.get(port);
    if (listening === undefined) return this.fallback;
    return listening.type === type ? listening.acceptor : undefined;
  }
}
