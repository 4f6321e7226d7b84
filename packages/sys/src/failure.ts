import { errnoName, VhostError } from '@rxvhost/core';

/**
 * Passes a native call's result on, or throws it as a {@link VhostError} when it is `-errno`.
 * @param what - what was attempted on what, for the message
 */
export function check(result: number, what: string): number {
  if (result < 0) throw failure(result, what);
  return result;
}

/** The error for a native result of `-errno`. */
export function failure(result: number, what: string): VhostError {
  const known = errnoName(-result);
  const unknown = known === 'EIO' && result !== EIO;
  return new VhostError(known, unknown ? `${what}: errno ${-result}` : what);
}

/** Throws `EBADF` for what cannot be an fd at all: native code would read it as another number. */
export function checkFd(fd: number, what: string): void {
  if (!Number.isInteger(fd) || fd < 0 || fd > MAX_FD) {
    throw new VhostError('EBADF', `${what}: ${fd} is not an fd`);
  }
}

const MAX_FD = 0x7fff_ffff;
const EIO = -5;

/** `-EAGAIN`, what a native call answers where it would block. */
export const WOULD_BLOCK = -11;
