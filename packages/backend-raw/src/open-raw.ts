import { VhostError } from '@rxvhost/core';
import {
  addAddressMembership,
  addPromiscuousMembership,
  attachFilter,
  bindPacketSocket,
  checkInterfaceName,
  closeFd,
  ignoreOutgoingPackets,
  interfaceIndex,
  openPacketSocket,
  setPacketAuxiliaryData,
  setPacketQdiscBypass,
  setPacketVnetHeader,
  setReceiveBufferSize,
  setSendBufferSize,
} from '@rxvhost/sys';
import { filterProgram } from './packet-filter.js';
import { RawPacketSocket } from './raw-packet-socket.js';

/** Bytes of frames that wait to be received: some 40 segments of 64 KiB, with the kernel's overhead. */
const RECEIVE_BUFFER = 4 * 1024 * 1024;

/** Which interface to use, and how. */
export interface RawOptions {
  /** Interface name, 1 to 15 bytes. The interface exists already. */
  readonly ifname: string;
  /**
   * 6 bytes: receive only frames for this address, and those for groups and for everybody. Left out:
   * the interface is made promiscuous for as long as the socket is open, and all are received.
   */
  readonly address?: Uint8Array;
  /** Sent frames pass the interface's queueing discipline by; `false` by default. */
  readonly qdiscBypass?: boolean;
  /**
   * Frames carry a virtio-net header, which tells of unfinished checksums and of large segments; `true`
   * by default. Without it such frames of the same host arrive unfinished all the same.
   */
  readonly vnetHeader?: boolean;
  /** Bytes of the send buffer; the kernel's default (`net.core.wmem_default`) when left out. */
  readonly sendBuffer?: number;
  /** Bytes of the receive buffer; 4 MiB by default. */
  readonly receiveBuffer?: number;
}

/**
 * Opens a raw packet socket on the interface `ifname`: a NIC that is attached to it is one more
 * station on that wire. What the host itself sends out through the interface is not received, so on
 * a veth take the end that the host does not use.
 *
 * Throws `EINVAL` for a name that no interface can have, `ENODEV` when there is none of that name,
 * `EPERM` without CAP_NET_RAW. Messages say what to do.
 */
export function openRaw(options: RawOptions): RawPacketSocket {
  const { ifname, vnetHeader = true } = options;
  checkInterfaceName(ifname);
  const fds: number[] = [];
  try {
    const index = interfaceIndex(ifname);
    const fd = openPacketSocket();
    fds.push(fd);
    const sendFd = openPacketSocket();
    fds.push(sendFd);
    configureReceiver(fd, index, options);
    configureSender(sendFd, options);
    for (const each of fds) setPacketVnetHeader(each, vnetHeader);
    bindPacketSocket(fd, index);
    bindPacketSocket(sendFd, index, false);
    return new RawPacketSocket({ fd, sendFd, ifname, vnetHeader });
  } catch (cause) {
    for (const fd of fds) closeFd(fd);
    throw cause instanceof VhostError ? explain(cause, ifname) : cause;
  }
}

function configureReceiver(fd: number, index: number, options: RawOptions): void {
  const { address, receiveBuffer = RECEIVE_BUFFER } = options;
  if (address === undefined) addPromiscuousMembership(fd, index);
  else addAddressMembership(fd, index, address);
  hearIncoming(fd, address);
  setPacketAuxiliaryData(fd, true);
  setReceiveBufferSize(fd, receiveBuffer);
}

function configureSender(fd: number, { qdiscBypass = false, sendBuffer }: RawOptions): void {
  if (qdiscBypass) setPacketQdiscBypass(fd, true);
  if (sendBuffer !== undefined) setSendBufferSize(fd, sendBuffer);
}

/** Leaves out what leaves through the interface, and what is not for `address`. */
export function hearIncoming(fd: number, address?: Uint8Array): void {
  const program = filterProgram({ address, incoming: !ignoreOutgoingPackets(fd) });
  if (program !== undefined) attachFilter(fd, program);
}

/** The same error with what to do about it. */
function explain(cause: VhostError, ifname: string): VhostError {
  const tell = (message: string) => new VhostError(cause.code, message, { cause });
  switch (cause.code) {
    case 'ENODEV':
      return tell(`there is no interface ${ifname}: see ip link, or name another one`);
    case 'EPERM':
    case 'EACCES':
      return tell(
        'a raw packet socket needs CAP_NET_RAW: run as root, or sudo setcap cap_net_raw=ep $(which node)',
      );
    case 'EAFNOSUPPORT':
      return tell('there are no packet sockets: load the driver, sudo modprobe af_packet');
    case 'EINVAL':
      return cause;
    default:
      return tell(`interface ${ifname} cannot be opened`);
  }
}
