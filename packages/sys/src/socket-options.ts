/** What any socket tells of itself, and the options of `setsockopt` that are plain numbers. */
import { check, checkFd, failure } from './failure.js';
import { loadNative } from './native.js';

const SOL_SOCKET = 1;
const SO_TYPE = 3;
const SO_SNDBUF = 7;
const SO_RCVBUF = 8;
const SO_SNDBUFFORCE = 32;
const SO_RCVBUFFORCE = 33;
const SO_DOMAIN = 39;
const NOT_PERMITTED = -1;

/** What kind of socket an fd is, in the kernel's numbers. */
export interface SocketKind {
  /** Address family, for example {@link AF_PACKET}. */
  readonly family: number;
  /** For example {@link SOCK_RAW}. */
  readonly type: number;
}

/** `AF_PACKET`: frames on an interface. */
export const AF_PACKET = 17;
/** `SOCK_RAW`: with their headers. */
export const SOCK_RAW = 3;

/** The family and type of a socket. Throws `EBADF`, `ENOTSOCK`. */
export function socketKind(fd: number): SocketKind {
  return { family: option(fd, SO_DOMAIN), type: option(fd, SO_TYPE) };
}

/** Bytes of the send buffer, the kernel's own overhead included. Throws `EBADF`, `ENOTSOCK`. */
export function sendBufferSize(fd: number): number {
  return option(fd, SO_SNDBUF);
}

/** Bytes of the receive buffer, the kernel's own overhead included. Throws `EBADF`, `ENOTSOCK`. */
export function receiveBufferSize(fd: number): number {
  return option(fd, SO_RCVBUF);
}

/**
 * Makes the send buffer `bytes` large; the kernel doubles that for its overhead. Without
 * CAP_NET_ADMIN `net.core.wmem_max` is the most. Throws `EBADF`, `ENOTSOCK`.
 */
export function setSendBufferSize(fd: number, bytes: number): void {
  setBuffer(fd, bytes, SO_SNDBUFFORCE, SO_SNDBUF);
}

/** As {@link setSendBufferSize} for the receive buffer, with `net.core.rmem_max`. */
export function setReceiveBufferSize(fd: number, bytes: number): void {
  setBuffer(fd, bytes, SO_RCVBUFFORCE, SO_RCVBUF);
}

/** Bytes of the send buffer that are in use (`SIOCOUTQ`). Throws `EBADF`, `ENOTTY`. */
export function outgoingBytes(fd: number): number {
  const bytes = loadNative().outgoingBytes(fd);
  if (bytes < 0) throw failure(bytes, `ask how full the send buffer of fd ${fd} is`);
  return bytes;
}

/** An option that is a number. @param what - for the error message */
export function socketOption(fd: number, level: number, name: number, what: string): number {
  checkFd(fd, what);
  return check(loadNative().socketOption(fd, level, name), `${what} of fd ${fd}`);
}

/** Sets an option that is a number. @param what - for the error message */
export function setSocketOption(
  fd: number,
  level: number,
  name: number,
  value: number,
  what: string,
): void {
  checkFd(fd, what);
  check(loadNative().setSocketOption(fd, level, name, value), `${what} of fd ${fd}`);
}

function option(fd: number, name: number): number {
  return socketOption(fd, SOL_SOCKET, name, 'ask for a socket option');
}

function setBuffer(fd: number, bytes: number, forced: number, limited: number): void {
  const what = `set a buffer to ${bytes} bytes`;
  checkFd(fd, what);
  const native = loadNative();
  let result = native.setSocketOption(fd, SOL_SOCKET, forced, bytes);
  if (result === NOT_PERMITTED) result = native.setSocketOption(fd, SOL_SOCKET, limited, bytes);
  check(result, `${what} on fd ${fd}`);
}
