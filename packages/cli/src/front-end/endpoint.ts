import type { GivenOptions, OptionRow } from '../command-line.js';
import { UsageError } from '../usage-error.js';
import { parseFd, parseSocketPath } from '../values.js';

/** Where a front-end is met. */
export type Endpoint =
  | { readonly kind: 'listen'; readonly path: string }
  | { readonly kind: 'connect'; readonly path: string }
  | { readonly kind: 'connected'; readonly fd: number };

/** The options of every device that say where its front-end is met. */
export const ENDPOINT_OPTIONS: readonly OptionRow[] = [
  {
    name: 'socket-path',
    value: 'PATH',
    help: 'listen for the front-end (VMM) on this Unix socket',
  },
  {
    name: 'connect-path',
    value: 'PATH',
    help: 'connect to a front-end that listens on this Unix socket, whenever there is one',
  },
  { name: 'fd', value: 'N', help: 'serve this inherited, already connected Unix socket instead' },
];

/** The options of every device that say how it is served. */
export const SERVICE_OPTIONS: readonly OptionRow[] = [
  {
    name: 'queue-size',
    value: 'N',
    help: 'largest virtqueue size to accept, a power of two up to 32768 (1024)',
  },
  { name: 'once', help: 'end when the first front-end disconnects' },
  { name: 'stats', help: 'print final statistics on stdout, as one JSON object' },
  { name: 'print-capabilities', help: 'print what this back-end can do, as JSON, and exit' },
  { name: 'help', help: 'print this' },
];

/** How a device is told from others in the log: by where its front-end is met. */
export function nameEndpoint(endpoint: Endpoint): string {
  return endpoint.kind === 'connected' ? `fd ${endpoint.fd}` : endpoint.path;
}

/** Where the given options say that the front-end is. Throws {@link UsageError}. */
export function parseEndpoint(given: GivenOptions): Endpoint {
  const path = given.get('socket-path');
  const connectPath = given.get('connect-path');
  const fd = given.get('fd');
  const ways = [path, connectPath, fd].filter((value) => value !== undefined);
  if (ways.length > 1) {
    throw new UsageError('--socket-path, --connect-path and --fd exclude each other: give one');
  }
  if (path !== undefined) return { kind: 'listen', path: parseSocketPath('--socket-path', path) };
  if (connectPath !== undefined) {
    return { kind: 'connect', path: parseSocketPath('--connect-path', connectPath) };
  }
  if (fd !== undefined) return { kind: 'connected', fd: parseFd(`--fd=${fd}`, fd) };
  throw new UsageError('where is the front-end? Give --socket-path=PATH, or --fd=N');
}
