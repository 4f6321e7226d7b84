/**
 * Linux TUN/TAP character devices. A tap is an Ethernet interface whose cable ends in an fd: what the
 * host sends to the interface is read from the fd, one frame a read, and a write is a frame that
 * the interface receives. With a *vnet header* each frame is preceded by a virtio-net header, so
 * that checksums and segmentation can be left to the other side.
 */
import { VhostError } from '@rxvhost/core';
import { check, checkFd } from './failure.js';
import { loadNative } from './native.js';

/** Interface flags of `TUNSETIFF` and `TUNGETIFF` (`linux/if_tun.h`). */
export const TUN_FLAGS = {
  IFF_TUN: 0x0001,
  IFF_TAP: 0x0002,
  IFF_NAPI: 0x0010,
  IFF_NAPI_FRAGS: 0x0020,
  IFF_MULTI_QUEUE: 0x0100,
  IFF_ATTACH_QUEUE: 0x0200,
  IFF_DETACH_QUEUE: 0x0400,
  IFF_PERSIST: 0x0800,
  IFF_NO_PI: 0x1000,
  IFF_VNET_HDR: 0x4000,
} as const;

/** Offloads of `TUNSETOFFLOAD`: what the reader of the fd can take (`linux/if_tun.h`). */
export const TUN_OFFLOADS = {
  TUN_F_CSUM: 0x01,
  TUN_F_TSO4: 0x02,
  TUN_F_TSO6: 0x04,
  TUN_F_TSO_ECN: 0x08,
  TUN_F_UFO: 0x10,
  TUN_F_USO4: 0x20,
  TUN_F_USO6: 0x40,
} as const;

/** How {@link openTap} opens the interface. */
export interface TapOptions {
  /** One of several queues; every fd of the interface must say so. Default false. */
  readonly multiQueue?: boolean;
  /** Each frame is preceded by a virtio-net header. Default false. */
  readonly vnetHeader?: boolean;
  /** The clone device, default `/dev/net/tun`. */
  readonly device?: string;
}

/** An opened interface. */
export interface OpenTap {
  /** Non-blocking, close-on-exec; the caller owns it. Closing it removes an unpersistent interface. */
  readonly fd: number;
  /** The name that the interface has. */
  readonly ifname: string;
}

/** What an fd is attached to. */
export interface TapInterface {
  readonly ifname: string;
  /** {@link TUN_FLAGS}. */
  readonly flags: number;
}

/**
 * Opens a tap interface by name; makes it when there is none and we may.
 * @param ifname - at most 15 bytes; a `%d` in it, or an empty name, lets the kernel choose
 * @returns Throws `EPERM` (needs CAP_NET_ADMIN, or an interface that belongs to this user), `EBUSY`
 * (somebody else has it open), `EINVAL` (it exists with other flags, or the name is not one),
 * `ENOENT` or `ENODEV` (no TUN driver), `ENAMETOOLONG`
 */
export function openTap(ifname: string, options: TapOptions = {}): OpenTap {
  const { multiQueue = false, vnetHeader = false, device = '/dev/net/tun' } = options;
  const flags =
    TUN_FLAGS.IFF_TAP |
    TUN_FLAGS.IFF_NO_PI |
    (multiQueue ? TUN_FLAGS.IFF_MULTI_QUEUE : 0) |
    (vnetHeader ? TUN_FLAGS.IFF_VNET_HDR : 0);
  const names: string[] = [];
  const fd = check(
    loadNative().openTun(device, ifname, flags, names),
    `open tap "${ifname}" through ${device}`,
  );
  return { fd, ifname: names[0] ?? ifname };
}

/** `TUNGETIFF`. Throws where `fd` is not a tun, tap or macvtap device that is attached: `EBADFD`, `ENOTTY`, … */
export function tapInterface(fd: number): TapInterface {
  const what = `ask fd ${fd} for its tap interface`;
  checkFd(fd, what);
  const names: string[] = [];
  const flags = check(loadNative().tunInterface(fd, names), what);
  return { ifname: names[0] ?? '', flags };
}

/** `TUNGETFEATURES`: the {@link TUN_FLAGS} that the driver knows. */
export function tunFeatures(fd: number): number {
  checkFd(fd, 'ask for TUN features');
  return check(loadNative().tunFeatures(fd), `ask fd ${fd} for TUN features`);
}

/** `TUNGETVNETHDRSZ`: bytes of vnet header before each frame. */
export function vnetHeaderSize(fd: number): number {
  checkFd(fd, 'ask for the vnet header size');
  return check(loadNative().tunVnetHeaderSize(fd), `ask fd ${fd} for the vnet header size`);
}

/** `TUNSETVNETHDRSZ`: 10 or 12 bytes (larger ones are the driver's to judge). Throws `EINVAL`. */
export function setVnetHeaderSize(fd: number, bytes: number): void {
  const what = `set the vnet header size of fd ${fd} to ${bytes}`;
  checkFd(fd, what);
  check(loadNative().setTunVnetHeaderSize(fd, bytes), what);
}

/** `TUNSETVNETLE`: header fields are little-endian whatever the host is, as VERSION_1 wants. */
export function setVnetLittleEndian(fd: number, on: boolean): void {
  const what = `set the vnet header byte order of fd ${fd}`;
  checkFd(fd, what);
  check(loadNative().setTunVnetLittleEndian(fd, on ? 1 : 0), what);
}

/** `TUNSETOFFLOAD`: {@link TUN_OFFLOADS} that frames read from `fd` may use. Throws `EINVAL`. */
export function setOffload(fd: number, offloads: number): void {
  const what = `set offloads 0x${offloads.toString(16)} on fd ${fd}`;
  checkFd(fd, what);
  check(loadNative().setTunOffload(fd, offloads), what);
}

/** `TUNSETSNDBUF`: bytes of written frames that may be on their way before a write would block. */
export function setSendBuffer(fd: number, bytes: number): void {
  const what = `set the send buffer of fd ${fd} to ${bytes} bytes`;
  checkFd(fd, what);
  if (!(bytes > 0)) throw new VhostError('EINVAL', what);
  check(loadNative().setTunSendBuffer(fd, bytes), what);
}

/** `TUNSETPERSIST`: whether the interface outlives its last fd. */
export function setPersistent(fd: number, persistent: boolean): void {
  const what = `make the interface of fd ${fd} ${persistent ? '' : 'not '}persistent`;
  checkFd(fd, what);
  check(loadNative().setTunPersistent(fd, persistent ? 1 : 0), what);
}

/** `TUNSETQUEUE`: a detached queue of a multi-queue tap takes part again. Throws `EINVAL`. */
export function attachQueue(fd: number): void {
  checkFd(fd, 'attach a tap queue');
  const result = loadNative().setTunQueue(fd, TUN_FLAGS.IFF_ATTACH_QUEUE);
  check(result, `attach the tap queue of fd ${fd}`);
}

/** `TUNSETQUEUE`: a queue of a multi-queue tap gets no more frames, its fd stays. Throws `EINVAL`. */
export function detachQueue(fd: number): void {
  checkFd(fd, 'detach a tap queue');
  const result = loadNative().setTunQueue(fd, TUN_FLAGS.IFF_DETACH_QUEUE);
  check(result, `detach the tap queue of fd ${fd}`);
}
