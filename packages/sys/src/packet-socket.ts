/**
 * Packet sockets (`AF_PACKET`, `SOCK_RAW`): whole Ethernet frames on an interface that the host has
 * already. What others send to the interface is received, what is sent leaves through it. Numbers
 * are those of `linux/if_packet.h`.
 */
import { VhostError } from '@rxvhost/core';
import { check, checkFd } from './failure.js';
import { loadNative } from './native.js';
import { setSocketOption, socketOption } from './socket-options.js';

const SOL_PACKET = 263;
const PACKET_AUXDATA = 8;
const PACKET_VNET_HDR = 15;
const PACKET_QDISC_BYPASS = 20;
const PACKET_IGNORE_OUTGOING = 23;
const PACKET_MR_PROMISC = 1;
const PACKET_MR_ALLMULTI = 2;
const PACKET_MR_UNICAST = 3;
const NO_SUCH_OPTION = -92;
const NONE = new Uint8Array(0);

/**
 * Opens a packet socket that hears nothing before {@link bindPacketSocket}, so that options come
 * first. @returns a non-blocking, close-on-exec fd that the caller owns. Throws `EPERM` (needs
 * CAP_NET_RAW), `EAFNOSUPPORT` (a kernel without them), `EMFILE`
 */
export function openPacketSocket(): number {
  return check(loadNative().openPacketSocket(), 'open a packet socket');
}

/**
 * From now on: all frames of one interface, by its index.
 * @param hear - `false`: a socket that only sends there
 * Throws `ENODEV`, `ENETDOWN` (it is down).
 */
export function bindPacketSocket(fd: number, interfaceIndex: number, hear = true): void {
  const what = `bind packet socket ${fd} to interface ${interfaceIndex}`;
  checkFd(fd, what);
  check(loadNative().bindPacketSocket(fd, interfaceIndex, hear ? 1 : 0), what);
}

/** Index of the interface that a packet socket is bound to; 0: none, or one that is gone. */
export function packetSocketInterface(fd: number): number {
  const what = `ask which interface packet socket ${fd} is bound to`;
  checkFd(fd, what);
  return check(loadNative().packetSocketInterface(fd), what);
}

/** Whether frames have the kernel's virtio-net header of 10 bytes before them. */
export function packetVnetHeader(fd: number): boolean {
  return socketOption(fd, SOL_PACKET, PACKET_VNET_HDR, 'ask for the vnet header') !== 0;
}

/**
 * Puts that header before each frame, or not. With it, frames may be unfinished: their checksum to
 * be filled in, large segments to be cut up, as it says. Throws `EBUSY` for a socket with a packet ring.
 */
export function setPacketVnetHeader(fd: number, on: boolean): void {
  set(fd, PACKET_VNET_HDR, on, 'set the vnet header');
}

/** Lets the kernel tell a frame's VLAN tag apart: {@link receivePackets} needs it to restore it. */
export function setPacketAuxiliaryData(fd: number, on: boolean): void {
  set(fd, PACKET_AUXDATA, on, 'set auxiliary data');
}

/** Whether to leave out what leaves through the interface. False: the kernel is before 4.20. */
export function ignoreOutgoingPackets(fd: number): boolean {
  const result = loadNative().setSocketOption(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, 1);
  if (result === NO_SUCH_OPTION) return false;
  check(result, `ignore outgoing packets on fd ${fd}`);
  return true;
}

/** Whether what is sent goes to the driver past the interface's queueing discipline. */
export function setPacketQdiscBypass(fd: number, on: boolean): void {
  set(fd, PACKET_QDISC_BYPASS, on, 'set the queueing discipline bypass');
}

/** Has the interface take all frames, whomever they are for, while the socket is open. */
export function addPromiscuousMembership(fd: number, interfaceIndex: number): void {
  addMembership(fd, interfaceIndex, PACKET_MR_PROMISC, NONE);
}

/** Has the interface take frames for one more address, and all multicast ones. */
export function addAddressMembership(
  fd: number,
  interfaceIndex: number,
  address: Uint8Array,
): void {
  if (address.length !== 6) {
    throw new VhostError('EINVAL', `a hardware address of ${address.length} bytes, not 6`);
  }
  addMembership(fd, interfaceIndex, PACKET_MR_UNICAST, address);
  addMembership(fd, interfaceIndex, PACKET_MR_ALLMULTI, NONE);
}

/** One instruction of a classic BPF program (`struct sock_filter`). */
export interface FilterInstruction {
  readonly code: number;
  /** Instructions to skip when the condition holds, and when it does not. */
  readonly jumpTrue?: number;
  readonly jumpFalse?: number;
  readonly operand: number;
}

/** Has a socket take only the packets for which the program returns more than 0. Throws `EINVAL`. */
export function attachFilter(fd: number, program: readonly FilterInstruction[]): void {
  checkFd(fd, 'attach a filter');
  const bytes = new Uint8Array(8 * program.length);
  for (const [index, { code, jumpTrue = 0, jumpFalse = 0, operand }] of program.entries()) {
    new Uint16Array(bytes.buffer, 8 * index, 1)[0] = code;
    bytes[8 * index + 2] = jumpTrue;
    bytes[8 * index + 3] = jumpFalse;
    new Uint32Array(bytes.buffer, 8 * index + 4, 1)[0] = operand;
  }
  check(loadNative().attachFilter(fd, bytes), `attach a filter to fd ${fd}`);
}

/** Frames that were lost since this was last asked, because the receive buffer was full. */
export function packetDrops(fd: number): number {
  checkFd(fd, 'ask for dropped packets');
  return check(loadNative().packetDrops(fd), `ask for dropped packets of fd ${fd}`);
}

function set(fd: number, name: number, on: boolean, what: string): void {
  setSocketOption(fd, SOL_PACKET, name, on ? 1 : 0, what);
}

function addMembership(fd: number, index: number, type: number, address: Uint8Array): void {
  const what = `have interface ${index} take more frames for packet socket ${fd}`;
  checkFd(fd, what);
  check(loadNative().addPacketMembership(fd, index, type, address), what);
}
