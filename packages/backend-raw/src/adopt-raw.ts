import { VhostError } from '@rxvhost/core';
import {
  AF_PACKET,
  ignoreOutgoingPackets,
  interfaceName,
  packetSocketInterface,
  packetVnetHeader,
  SOCK_RAW,
  setNonBlocking,
  setPacketAuxiliaryData,
  setPacketVnetHeader,
  socketKind,
} from '@rxvhost/sys';
import { RawPacketSocket } from './raw-packet-socket.js';

/**
 * Takes over a packet socket that somebody else has opened, for example a parent process with the
 * privilege to. Its filter, memberships and buffers stay as they are; whether frames carry a
 * virtio-net header is asked (`PACKET_VNET_HDR`).
 *
 * @param fd - the socket owns it from here on, unless this throws
 * Throws, in the order of the kernel's own vhost-net (seed C10): `EBADF` for an fd that is not open,
 * `ENOTSOCK` for one that is no socket, `ESOCKTNOSUPPORT` for a type other than SOCK_RAW,
 * `EPFNOSUPPORT` for a family other than AF_PACKET; then `EINVAL` for a socket that is bound to no
 * interface.
 */
export function adoptRaw(fd: number): RawPacketSocket {
  const { family, type } = socketKind(fd);
  if (type !== SOCK_RAW) {
    throw new VhostError('ESOCKTNOSUPPORT', `fd ${fd} is a socket of type ${type}, not SOCK_RAW`);
  }
  if (family !== AF_PACKET) {
    throw new VhostError('EPFNOSUPPORT', `fd ${fd} is a socket of family ${family}, not AF_PACKET`);
  }
  const index = packetSocketInterface(fd);
  if (index === 0) {
    throw new VhostError('EINVAL', `packet socket ${fd} is bound to no interface: bind it to one`);
  }
  const vnetHeader = packetVnetHeader(fd);
  setNonBlocking(fd);
  setPacketAuxiliaryData(fd, true);
  ignoreOutgoingPackets(fd);
  // Somebody may have asked for the header of 12 bytes that newer kernels know.
  if (vnetHeader) setPacketVnetHeader(fd, true);
  return new RawPacketSocket({ fd, ifname: nameOf(index), vnetHeader });
}

/** A socket of another network namespace has an interface there, which has no name here. */
function nameOf(index: number): string {
  try {
    return interfaceName(index);
  } catch {
    return `number ${index}`;
  }
}
