/** Unix stream sockets with fds beside the bytes (`SCM_RIGHTS`): what vhost-user speaks over. */
import { VhostError } from '@rxvhost/core';
import { check, checkFd, failure, WOULD_BLOCK } from './failure.js';
import { loadNative } from './native.js';

/** What one `recvmsg` brought. */
export interface ReceivedMessage {
  /** Bytes written to the target; 0: the other side has closed. */
  readonly bytes: number;
  /** The fds that came with them, close-on-exec; the caller owns every one. */
  readonly fds: number[];
}

/** The most fds that Linux passes in one message. */
export const MAX_FDS = 253;

const TOO_MANY_FDS = -90;
const EMPTY: Uint8Array = new Uint8Array(0);

/**
 * Receives once into `target`, with up to `maxFds` fds. Never blocks, takes no byte more than
 * `target` holds: read exactly a header, then exactly its payload.
 *
 * @returns undefined where it would block. Throws `EMSGSIZE` when more fds came than `maxFds`: all of
 * them are closed and the bytes are lost; `ECONNRESET`, `EBADF`, `ENOTSOCK`
 */
export function receiveWithFds(
  fd: number,
  target: Uint8Array,
  maxFds = 8,
): ReceivedMessage | undefined {
  const fds: number[] = [];
  const bytes = loadNative().receiveWithFds(fd, target, maxFds, fds);
  if (bytes === WOULD_BLOCK) return undefined;
  if (bytes === TOO_MANY_FDS) {
    throw failure(bytes, `receive on socket ${fd}: more than ${maxFds} fds came with a message`);
  }
  check(bytes, `receive on socket ${fd}`);
  return { bytes, fds };
}

/**
 * Receives bytes alone; fds that come with them are dropped by the kernel. Never blocks.
 * @returns bytes, 0 at the end of the stream, undefined where it would block. Throws `ECONNRESET`, …
 */
export function receiveBytes(fd: number, target: Uint8Array): number | undefined {
  const bytes = loadNative().receiveBytes(fd, target);
  return bytes === WOULD_BLOCK ? undefined : check(bytes, `receive on socket ${fd}`);
}

/**
 * Sends bytes with fds beside the first of them. Never blocks, raises no SIGPIPE.
 *
 * @param bytes - at least one when there are fds
 * @param fds - at most {@link MAX_FDS}; they stay the caller's
 * @returns bytes sent: fewer than given where the socket is full now (send the rest without the
 * fds), or undefined where nothing could be sent. Throws `EPIPE`, `ECONNRESET`, `EBADF`, `EINVAL`
 */
export function sendWithFds(
  fd: number,
  bytes: Uint8Array,
  fds: readonly number[],
): number | undefined {
  if (fds.length > 0 && bytes.length === 0) {
    throw new VhostError('EINVAL', `send ${fds.length} fds on socket ${fd} without a byte`);
  }
  for (const passed of fds) checkFd(passed, `send fds on socket ${fd}`);
  const sent = loadNative().sendWithFds(fd, bytes.length === 0 ? EMPTY : bytes, fds);
  return sent === WOULD_BLOCK
    ? undefined
    : check(sent, `send ${bytes.length} bytes and ${fds.length} fds on socket ${fd}`);
}

/**
 * Connects to a Unix stream server. Does not wait.
 * @returns a non-blocking, close-on-exec fd that the caller owns. Throws `ENOENT` (no such file),
 * `ECONNREFUSED` (nobody listens), `EAGAIN` (the server's backlog is full), `EACCES`, `ENAMETOOLONG`
 */
export function connectUnix(path: string): number {
  return check(loadNative().connectUnix(path), `connect to ${path}`);
}

/**
 * The process at the other end of a connected Unix stream socket (`SO_PEERCRED`).
 * @returns its id as it was when it connected (for a socket pair: of whoever made it); 0 when it is in
 * a process namespace that we do not see. Throws `EBADF`, `ENOTSOCK`, `EAFNOSUPPORT` (another kind of
 * socket), `ESOCKTNOSUPPORT` (not a stream), `ENOTCONN`
 */
export function unixPeer(fd: number): number {
  const what = `ask socket ${fd} who is at the other end`;
  checkFd(fd, what);
  return check(loadNative().unixPeer(fd), what);
}

/**
 * Two connected Unix sockets, non-blocking and close-on-exec; the caller owns both.
 * @param type - `stream`, or one that keeps messages apart. Throws `EMFILE`
 */
export function socketPair(type: 'stream' | 'datagram' | 'seqpacket' = 'stream'): [number, number] {
  const fds: number[] = [];
  check(loadNative().socketPair(type, fds), `make a pair of ${type} sockets`);
  const [one = -1, other = -1] = fds;
  return [one, other];
}
