import { TapSocket } from '@rxvhost/backend-tap';
import { VhostError } from '@rxvhost/core';
import { fileStatus, setNonBlocking, TUN_FLAGS, tapInterface } from '@rxvhost/sys';
import { macvtapMajors } from './macvtap-device.js';

/**
 * Takes over a macvtap that somebody else has opened. It is told from a tun/tap device, which answers
 * the same requests, by its device number. What it says of itself decides whether frames carry a
 * virtio-net header (hazard T53).
 *
 * @param fd - the socket owns it from here on, unless this throws
 * Throws `EBADF` for an fd that is not open, `ENOTTY` for one that is no macvtap, `EBADFD` for one whose
 * interface is gone.
 */
export function adoptMacvtap(fd: number): TapSocket {
  const { kind, major } = fileStatus(fd);
  if (kind !== 'character' || !macvtapMajors().includes(major)) {
    throw new VhostError('ENOTTY', `fd ${fd} is no macvtap`);
  }
  if (isGone(fd)) throw new VhostError('EBADFD', `the macvtap of fd ${fd} was deleted`);
  const { ifname, flags } = tapInterface(fd);
  setNonBlocking(fd);
  return new TapSocket({
    fd,
    ifname,
    vnetHeader: (flags & TUN_FLAGS.IFF_VNET_HDR) !== 0,
    // Whether others may open queues too is of no interest: macvtap lets a queue rest by closing it.
    multiQueue: false,
    temporary: false,
    isGone: () => isGone(fd),
  });
}

/** Reading and writing go on as if nothing were when a macvtap is deleted; only this request fails. */
function isGone(fd: number): boolean {
  try {
    tapInterface(fd);
    return false;
  } catch {
    return true;
  }
}
