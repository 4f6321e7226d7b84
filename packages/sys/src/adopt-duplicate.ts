import { BackendRefusal, type PacketSocket, VhostError } from '@rxvhost/core';
import { closeFd, duplicateFd } from './files.js';

/**
 * What a provider does with an fd (seed C10): tries to adopt a duplicate, so that `fd` stays the
 * caller's, and gives the duplicate back when that fails.
 *
 * @param adopt - makes a backend that owns the fd it is given, or throws and leaves it alone
 * @param explain - what the refusal says; the error as it is when left out
 * @returns the backend, or a refusal with the `VhostError` that was thrown; other errors pass through
 */
export function adoptDuplicate(
  fd: number,
  adopt: (own: number) => PacketSocket,
  explain: (error: VhostError) => VhostError = (error) => error,
): PacketSocket | BackendRefusal {
  let own: number | undefined;
  try {
    own = duplicateFd(fd);
    return adopt(own);
  } catch (error) {
    if (own !== undefined) closeFd(own);
    if (!(error instanceof VhostError)) throw error;
    return new BackendRefusal(explain(error));
  }
}
