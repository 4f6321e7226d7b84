import { VhostError } from '../errors/vhost-error.js';
import type { PacketSocket } from './packet-socket.js';

/**
 * Knows one kind of file and makes a backend of it. Providers are asked in order, as the kernel's
 * vhost-net asks its socket kinds; a user's own provider is one more binding of the same token.
 */
export interface BackendProvider {
  /** Short name for messages and `--backend=NAME:…`, for example `tap`. */
  readonly name: string;
  /**
   * Makes a backend of `fd` if it is of this provider's kind. The backend works on a duplicate of
   * its own: `fd` stays the caller's, as with the kernel's SET_BACKEND.
   * @returns the backend, or a refusal whose errno says why (`ENOTSOCK`, `ESOCKTNOSUPPORT`,
   * `EPFNOSUPPORT`, `EBADF`, … as seed C10)
   */
  open(fd: number): PacketSocket | BackendRefusal;
}

/** A provider's answer to an fd that is not its kind. */
export class BackendRefusal {
  constructor(readonly error: VhostError) {}
}

/** The ordered chain of providers (seed C10). */
export class BackendChain {
  constructor(readonly providers: readonly BackendProvider[]) {}

  /**
   * The first provider's backend that takes `fd`.
   * Throws `ENOTSOCK` when none does; `cause` holds every provider's own reason, in order.
   */
  open(fd: number): PacketSocket {
    const refusals: Error[] = [];
    for (const provider of this.providers) {
      const answer = provider.open(fd);
      if (!(answer instanceof BackendRefusal)) return answer;
      refusals.push(answer.error);
    }
    const tried = this.providers.map(({ name }) => name).join(', ') || 'none';
    throw new VhostError('ENOTSOCK', `no backend provider takes fd ${fd} (asked: ${tried})`, {
      cause: new AggregateError(refusals, 'what each provider said'),
    });
  }
}
