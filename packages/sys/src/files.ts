import { VhostError } from '@rxvhost/core';
import { check, checkFd } from './failure.js';
import { loadNative } from './native.js';

/** What `fstat` says about an open file. */
export interface FileStatus {
  readonly kind: 'regular' | 'character' | 'socket' | 'fifo' | 'directory' | 'block' | 'other';
  /** Bytes; 0 where that means nothing. */
  readonly size: number;
  /** Device numbers of a character or block device, else 0. */
  readonly major: number;
  readonly minor: number;
}

const TYPE_MASK = 0o170000;

/**
 * Makes an anonymous shared-memory file. Its size is sealed, so no holder of the fd can shrink it
 * under a mapping (hazard T20).
 * @param name - shown in `/proc/self/maps`; at most 249 bytes
 * @param size - bytes, 1 … 2^53 - 1
 * @returns an fd that the caller owns, close-on-exec. Throws `EINVAL`, `EMFILE`, `ENOMEM`
 */
export function createMemfd(name: string, size: number): number {
  const what = `make a memfd "${name}" of ${size} bytes`;
  if (!Number.isSafeInteger(size) || size < 1) throw new VhostError('EINVAL', what);
  return check(loadNative().createMemfd(name, size), what);
}

/** What kind of file `fd` is, and its size. Throws `EBADF`. */
export function fileStatus(fd: number): FileStatus {
  const what = `look at fd ${fd}`;
  checkFd(fd, what);
  const fields = new Float64Array(5);
  check(loadNative().fileStatus(fd, fields), what);
  const [mode = 0, size = 0, major = 0, minor = 0] = fields;
  return { kind: fileKind(mode), size, major, minor };
}

function fileKind(mode: number): FileStatus['kind'] {
  switch (mode & TYPE_MASK) {
    case 0o100000:
      return 'regular';
    case 0o020000:
      return 'character';
    case 0o140000:
      return 'socket';
    case 0o010000:
      return 'fifo';
    case 0o040000:
      return 'directory';
    case 0o060000:
      return 'block';
    default:
      return 'other';
  }
}

/** A second fd, close-on-exec, for the same open file; the caller owns it. Throws `EBADF`, `EMFILE`. */
export function duplicateFd(fd: number): number {
  const what = `duplicate fd ${fd}`;
  checkFd(fd, what);
  return check(loadNative().duplicate(fd), what);
}

/** Closes `fd`. Throws `EBADF` when it is not open, which mostly means that it was closed twice. */
export function closeFd(fd: number): void {
  const what = `close fd ${fd}`;
  checkFd(fd, what);
  check(loadNative().close(fd), what);
}

/**
 * Makes `fd` this thread's: closed when the thread ends before {@link closeFd}, as fds that this package
 * made itself are. For fds that another thread or Node's own functions opened; Node must not close it
 * too (`fs.openSync` in a worker does, unless the worker has `trackUnmanagedFds: false`). On the main
 * thread it only ends the account of the thread that had it. Throws `EBADF`.
 */
export function ownFd(fd: number): void {
  const what = `take over fd ${fd}`;
  checkFd(fd, what);
  check(loadNative().ownFd(fd), what);
}

/** Lets an fd outlive the thread that made it: for one whose number is handed to another thread. */
export function disownFd(fd: number): void {
  checkFd(fd, `hand on fd ${fd}`);
  loadNative().disownFd(fd);
}

/**
 * Opens a device special file for reading and writing.
 * @returns a non-blocking, close-on-exec fd that the caller owns. Throws `ENOENT`, `ENXIO`, `EACCES`,
 * `EMFILE`
 */
export function openDevice(path: string): number {
  return check(loadNative().openDevice(path), `open ${path}`);
}

/** Sets `O_NONBLOCK` on the open file behind `fd`, for everybody who shares it. Throws `EBADF`. */
export function setNonBlocking(fd: number): void {
  const what = `make fd ${fd} non-blocking`;
  checkFd(fd, what);
  check(loadNative().setNonBlocking(fd), what);
}

/**
 * Makes a character device special file that only its owner may open. Throws `EPERM` (needs
 * CAP_MKNOD), `EEXIST`, `ENOENT`, `EACCES`.
 */
export function makeCharacterDevice(path: string, major: number, minor: number): void {
  check(loadNative().makeDevice(path, major, minor), `make device ${path} (${major}:${minor})`);
}
