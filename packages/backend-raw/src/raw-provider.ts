import { type BackendProvider, BackendRefusal, type PacketSocket, VhostError } from '@rxvhost/core';
import { closeFd, duplicateFd } from '@rxvhost/sys';
import { adoptRaw } from './adopt-raw.js';

/** Takes fds of packet sockets in the provider chain (seed C10): the first one to be asked. */
export class RawProvider implements BackendProvider {
  readonly name = 'raw';

  /** Refuses with what {@link adoptRaw} throws. */
  open(fd: number): PacketSocket | BackendRefusal {
    let own: number | undefined;
    try {
      own = duplicateFd(fd);
      return adoptRaw(own);
    } catch (error) {
      if (own !== undefined) closeFd(own);
      if (!(error instanceof VhostError)) throw error;
      return new BackendRefusal(error);
    }
  }
}
