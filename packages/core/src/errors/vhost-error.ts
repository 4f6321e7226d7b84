/**
 * One error type for the whole project. Its `code` is the Linux errno name that the kernel's vhost
 * would answer, so that a caller can branch on it and the request interface can turn it back into
 * a number.
 */

/** Linux errno numbers (x86_64 and arm64 agree on these). */
export const ERRNO = {
  EPERM: 1,
  ENOENT: 2,
  EINTR: 4,
  EIO: 5,
  ENXIO: 6,
  E2BIG: 7,
  EBADF: 9,
  EAGAIN: 11,
  ENOMEM: 12,
  EACCES: 13,
  EFAULT: 14,
  EBUSY: 16,
  EEXIST: 17,
  ENODEV: 19,
  ENOTDIR: 20,
  EISDIR: 21,
  EINVAL: 22,
  ENFILE: 23,
  EMFILE: 24,
  ENOTTY: 25,
  ETXTBSY: 26,
  EFBIG: 27,
  ENOSPC: 28,
  EPIPE: 32,
  ERANGE: 34,
  ENAMETOOLONG: 36,
  ENOSYS: 38,
  ELOOP: 40,
  ENOIOCTLCMD: 515,
  EPROTO: 71,
  EBADMSG: 74,
  EOVERFLOW: 75,
  EBADFD: 77,
  EUSERS: 87,
  ENOTSOCK: 88,
  EMSGSIZE: 90,
  EPROTONOSUPPORT: 93,
  ESOCKTNOSUPPORT: 94,
  EOPNOTSUPP: 95,
  EPFNOSUPPORT: 96,
  EAFNOSUPPORT: 97,
  EADDRINUSE: 98,
  EADDRNOTAVAIL: 99,
  ENETDOWN: 100,
  ENETUNREACH: 101,
  ECONNABORTED: 103,
  ECONNRESET: 104,
  ENOBUFS: 105,
  EISCONN: 106,
  ENOTCONN: 107,
  ESHUTDOWN: 108,
  ETIMEDOUT: 110,
  ECONNREFUSED: 111,
  EHOSTUNREACH: 113,
  EALREADY: 114,
  EINPROGRESS: 115,
  ECANCELED: 125,
} as const;

/** The errno names that this project uses. */
export type ErrnoName = keyof typeof ERRNO;

const NAME_BY_NUMBER = new Map<number, ErrnoName>(
  Object.entries(ERRNO).map(([name, number]) => [number, name as ErrnoName]),
);

/** The name of a (positive) Linux errno number; `EIO` for one that this table does not know. */
export function errnoName(errno: number): ErrnoName {
  return NAME_BY_NUMBER.get(errno) ?? 'EIO';
}

/** What failed, as an errno, and where. Thrown for a caller's fault, emitted for a guest's. */
export class VhostError extends Error {
  override readonly name = 'VhostError';
  /** Linux errno number, positive. */
  readonly errno: number;

  /**
   * @param code - the errno name, for example `EFAULT`
   * @param message - what failed and where, one line, without the code
   * @param options - `cause`: the error beneath this one
   */
  constructor(
    readonly code: ErrnoName,
    message: string,
    options?: ErrorOptions,
  ) {
    super(`${message} (${code})`, options);
    this.errno = ERRNO[code];
  }
}

/** Any thrown value as a {@link VhostError}; `EIO` for what is not one. */
export function toVhostError(error: unknown): VhostError {
  if (error instanceof VhostError) return error;
  return new VhostError('EIO', error instanceof Error ? error.message : String(error), {
    cause: error,
  });
}
