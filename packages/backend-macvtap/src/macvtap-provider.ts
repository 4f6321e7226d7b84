import {
  type BackendProvider,
  type BackendRefusal,
  type PacketSocket,
  VhostError,
} from '@rxvhost/core';
import { adoptDuplicate } from '@rxvhost/sys';
import { adoptMacvtap } from './adopt-macvtap.js';

/** Takes fds of macvtap devices in the provider chain (seed C10): the last one to be asked. */
export class MacvtapProvider implements BackendProvider {
  readonly name = 'macvtap';

  /**
   * Refuses with `EBADF` what is not open, with `ENOTSOCK` what is no macvtap (the answer of the chain
   * as a whole when nobody takes it), and with `EBADFD` one whose interface is gone.
   */
  open(fd: number): PacketSocket | BackendRefusal {
    return adoptDuplicate(fd, adoptMacvtap, (cause) => refusal(fd, cause));
  }
}

function refusal(fd: number, cause: VhostError): VhostError {
  if (cause.code !== 'ENOTTY') return cause;
  return new VhostError('ENOTSOCK', `fd ${fd} is no macvtap`, { cause });
}
