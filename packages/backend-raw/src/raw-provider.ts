import type { BackendProvider, BackendRefusal, PacketSocket } from '@rxvhost/core';
import { adoptDuplicate } from '@rxvhost/sys';
import { adoptRaw } from './adopt-raw.js';

/** Takes fds of packet sockets in the provider chain (seed C10): the first one to be asked. */
export class RawProvider implements BackendProvider {
  readonly name = 'raw';

  /** Refuses with what {@link adoptRaw} throws. */
  open(fd: number): PacketSocket | BackendRefusal {
    return adoptDuplicate(fd, adoptRaw);
  }
}
