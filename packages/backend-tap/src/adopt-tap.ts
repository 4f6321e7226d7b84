import { readFileSync } from 'node:fs';
import { VhostError } from '@rxvhost/core';
import { fileStatus, setNonBlocking, TUN_FLAGS, tapInterface } from '@rxvhost/sys';
import { TapSocket } from './tap-socket.js';

/** `/dev/net/tun` (Linux's list of allocated devices). A macvtap answers the same ioctls. */
const TUN_MAJOR = 10;
const TUN_MINOR = 200;

/**
 * Takes over a tap that somebody else has opened, for example a parent process with the privilege
 * to. What the tap says of itself decides how frames are laid out (hazard T53): with `IFF_VNET_HDR`
 * they carry a virtio-net header, otherwise none.
 *
 * @param fd - the socket owns it from here on, unless this throws
 * Throws `EBADF` for an fd that is not open, `ENOTTY` for one that is no tun/tap device, `EBADFD` for
 * one that is attached to no interface, `EINVAL` for a tun (IP packets, not frames) and for a tap
 * without `IFF_NO_PI`, whose frames have four more bytes in front.
 */
export function adoptTap(fd: number): TapSocket {
  const { kind, major, minor } = fileStatus(fd);
  if (kind !== 'character' || major !== TUN_MAJOR || minor !== TUN_MINOR) {
    throw new VhostError('ENOTTY', `fd ${fd} is no tap`);
  }
  const { ifname, flags } = tapInterface(fd);
  if ((flags & TUN_FLAGS.IFF_TAP) === 0) {
    throw new VhostError(
      'EINVAL',
      `fd ${fd} is a tun device (${ifname}), which carries IP packets: open it with IFF_TAP`,
    );
  }
  if (hasPacketInformation(ifname)) {
    throw new VhostError(
      'EINVAL',
      `fd ${fd} is a tap (${ifname}) with packet information: open it with IFF_NO_PI`,
    );
  }
  setNonBlocking(fd);
  const vnetHeader = (flags & TUN_FLAGS.IFF_VNET_HDR) !== 0;
  const multiQueue = (flags & TUN_FLAGS.IFF_MULTI_QUEUE) !== 0;
  return new TapSocket({ fd, ifname, vnetHeader, multiQueue, temporary: false });
}

/**
 * Whether the interface was opened without `IFF_NO_PI`. TUNGETIFF cannot tell: its bit for that also
 * stands for "no socket filter" (`IFF_NOFILTER`). The driver tells it in sysfs; where that is not to
 * be seen (another network namespace), the usual case is taken for granted.
 */
function hasPacketInformation(ifname: string): boolean {
  let flags: number;
  try {
    flags = Number(readFileSync(`/sys/class/net/${ifname}/tun_flags`, 'utf8'));
  } catch {
    return false;
  }
  return (flags & TUN_FLAGS.IFF_NO_PI) === 0;
}
