import {
  type BackendProvider,
  type BackendRefusal,
  type PacketSocket,
  VhostError,
} from '@rxvhost/core';
import { adoptDuplicate } from '@rxvhost/sys';
import { adoptTap } from './adopt-tap.js';

/** Takes fds of tap devices in the provider chain (seed C10). */
export class TapProvider implements BackendProvider {
  readonly name = 'tap';

  /**
   * Refuses with `EBADF` what is not open, with `ENOTSOCK` what is no tun/tap device (the answer of
   * the chain as a whole when nobody takes it), and with `EINVAL` a tun, or a tap whose frames do not
   * begin where frames should: see {@link adoptTap}.
   */
  open(fd: number): PacketSocket | BackendRefusal {
    return adoptDuplicate(fd, adoptTap, (cause) => refusal(fd, cause));
  }
}

function refusal(fd: number, cause: VhostError): VhostError {
  if (cause.code !== 'ENOTTY') return cause;
  return new VhostError('ENOTSOCK', `fd ${fd} is no tap`, { cause });
}
