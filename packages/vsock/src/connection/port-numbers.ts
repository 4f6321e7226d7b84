import { VhostError } from '@rxvhost/core';
import { ANY_PORT, LAST_SERVICE_PORT } from '../protocol/limits.js';

/** How many ports are tried before all count as used: more than there are connections. */
const MOST_TRIES = 1 << 17;

/** Gives each connection that we open a port of its own: the next one that nobody uses. */
export class PortNumbers {
  #next: number;

  /** @param first - where to begin; service ports are left out */
  constructor(first: number) {
    this.#next = Math.max(first, LAST_SERVICE_PORT + 1);
  }

  /** Throws `EADDRNOTAVAIL` when none is free. */
  take(isUsed: (port: number) => boolean): number {
    for (let tries = 0; tries < MOST_TRIES; tries += 1) {
      const port = this.#next;
      this.#next = port + 1 === ANY_PORT ? LAST_SERVICE_PORT + 1 : port + 1;
      if (!isUsed(port)) return port;
    }
    throw new VhostError('EADDRNOTAVAIL', 'every vsock port is in use');
  }
}
