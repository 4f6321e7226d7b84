/** Bytes through a pipe or a stream socket, whichever an fd is. */
import { readSync, writeSync } from 'node:fs';
import { checkFd, failure } from './failure.js';

/**
 * Reads once into `target`. Never blocks, given a non-blocking fd.
 * @returns bytes, 0 at the end of the stream, undefined where it would block. Throws `EBADF`, …
 */
export function readStream(fd: number, target: Uint8Array): number | undefined {
  const what = `read from fd ${fd}`;
  checkFd(fd, what);
  return once(() => readSync(fd, target), what);
}

/**
 * Writes once. Never blocks, given a non-blocking fd.
 * @returns bytes written, undefined where it would block. Throws `EPIPE` when nobody reads, `EBADF`
 */
export function writeStream(fd: number, bytes: Uint8Array): number | undefined {
  const what = `write to fd ${fd}`;
  checkFd(fd, what);
  return once(() => writeSync(fd, bytes), what);
}

function once(call: () => number, what: string): number | undefined {
  try {
    return call();
  } catch (error) {
    const { code, errno = 0 } = error as NodeJS.ErrnoException;
    if (code === 'EAGAIN') return undefined;
    throw failure(errno, what);
  }
}
