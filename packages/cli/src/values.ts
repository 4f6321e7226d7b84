import { isGuestCid, isPort } from '@rxvhost/vsock';
import { UsageError } from './usage-error.js';

/** The longest path that fits a Unix socket address (`sun_path` less its closing zero byte). */
const MAX_SOCKET_PATH = 107;
const MAX_QUEUE_SIZE = 32768;
const MAX_WORKERS = 256;
/** Limits of the `mtu` field in virtio-net's configuration space. */
const MIN_MTU = 68;
const MAX_MTU = 65535;

/** `52:54:00:12:34:56` as six bytes. Throws {@link UsageError} for a multicast or zero address too. */
export function parseMac(text: string): Uint8Array {
  if (!/^[0-9a-f]{2}([:-][0-9a-f]{2}){5}$/i.test(text)) {
    throw new UsageError(
      `--mac=${text} is not a MAC address: six pairs of hex digits, as 52:54:00:12:34:56`,
    );
  }
  const bytes = Uint8Array.from(text.split(/[:-]/), (pair) => Number.parseInt(pair, 16));
  if (((bytes[0] as number) & 1) === 1) {
    throw new UsageError(
      `--mac=${text} is a multicast address: the first pair must be even, as 52:54:00:12:34:56`,
    );
  }
  if (bytes.every((byte) => byte === 0)) {
    throw new UsageError(`--mac=${text} is the zero address: use one like 52:54:00:12:34:56`);
  }
  return bytes;
}

/** Bytes of the largest frame's payload, 68 to 65535. */
export function parseMtu(text: string): number {
  const mtu = parseWholeNumber(text);
  if (mtu === undefined || mtu < MIN_MTU || mtu > MAX_MTU) {
    throw new UsageError(`--mtu=${text} is not a number from ${MIN_MTU} to ${MAX_MTU}`);
  }
  return mtu;
}

/** The largest queue size to accept: a power of two, 1 to 32768. */
export function parseQueueSize(text: string): number {
  const size = parseWholeNumber(text);
  if (size === undefined || size < 1 || size > MAX_QUEUE_SIZE || (size & (size - 1)) !== 0) {
    throw new UsageError(
      `--queue-size=${text} is not a power of two from 1 to ${MAX_QUEUE_SIZE}, as 256 or 1024`,
    );
  }
  return size;
}

/** Worker threads, 1 to 256. */
export function parseWorkers(text: string): number {
  const workers = parseWholeNumber(text);
  if (workers === undefined || workers < 1 || workers > MAX_WORKERS) {
    throw new UsageError(`--workers=${text} is not a number from 1 to ${MAX_WORKERS}, as 2`);
  }
  return workers;
}

/** A file descriptor's number. `what` is how it was written, for the message. */
export function parseFd(what: string, text: string): number {
  const fd = parseWholeNumber(text);
  if (fd === undefined || fd > 0x7fffffff) {
    throw new UsageError(`${what} is not the number of an open file descriptor, as 3`);
  }
  return fd;
}

/**
 * A path that a Unix socket can have.
 * @param what - where it was written, for the message
 * @param behind - bytes that are to fit behind it
 */
export function parseSocketPath(what: string, path: string, behind = 0): string {
  const length = Buffer.byteLength(path);
  const most = MAX_SOCKET_PATH - behind;
  if (length > most) {
    const room = behind === 0 ? '' : ` here, since _PORT is put behind it`;
    throw new UsageError(
      `${what} is ${length} bytes long, a Unix socket's path has at most ${most}${room}: use a shorter one`,
    );
  }
  return path;
}

/** A guest's vsock address, 3 to 4294967294. `what` is how it was written, for the message. */
export function parseGuestCid(what: string, text: string): number {
  const cid = parseWholeNumber(text);
  if (cid === undefined || !isGuestCid(cid)) {
    throw new UsageError(`${what} is not a guest's CID: a number from 3 to 4294967294, as 42`);
  }
  return cid;
}

/** A vsock port, 0 to 4294967294. `what` is how it was written, for the message. */
export function parsePort(what: string, text: string): number {
  const port = parseWholeNumber(text);
  if (port === undefined || !isPort(port)) {
    throw new UsageError(`${what}: ${text} is not a port, a number from 0 to 4294967294`);
  }
  return port;
}

function parseWholeNumber(text: string): number | undefined {
  return /^\d{1,10}$/.test(text) ? Number(text) : undefined;
}
