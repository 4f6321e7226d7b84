import type { Forward, VhostVsockOptions } from '@rxvhost/vsock';
import { type GivenOptions, type OptionRow, parseOptions } from '../command-line.js';
import {
  ENDPOINT_OPTIONS,
  type Endpoint,
  parseEndpoint,
  SERVICE_OPTIONS,
} from '../front-end/endpoint.js';
import { parseRings, RINGS_OPTION } from '../front-end/ring-list.js';
import { UsageError } from '../usage-error.js';
import { parseGuestCid, parsePort, parseQueueSize, parseSocketPath } from '../values.js';

/** `_` and the longest port stand behind the path of the host's sockets. */
const PORT_SUFFIX = '_4294967294'.length;
const SIBLING_FORM = 'CID,socket-path=PATH[,uds-path=PATH]';

/** One guest that is served. */
export interface GuestOptions {
  readonly cid: number;
  readonly endpoint: Endpoint;
  /** The host's Unix sockets for this guest; undefined where the host is not to be reached. */
  readonly udsPath: string | undefined;
}

/** What `rxvhost vsock` was asked to do. */
export interface VsockOptions {
  /** The guest, then its siblings. */
  readonly guests: readonly GuestOptions[];
  readonly forwards: readonly Forward[];
  /** Queue size and ways to use rings, if they were given. */
  readonly device: Pick<VhostVsockOptions, 'maxQueueSize' | 'rings'>;
  readonly once: boolean;
  readonly stats: boolean;
}

export const VSOCK_OPTIONS: readonly OptionRow[] = [
  ...ENDPOINT_OPTIONS,
  { name: 'guest-cid', value: 'CID', help: "the guest's address, 3 to 4294967294" },
  {
    name: 'uds-path',
    value: 'PATH',
    help:
      'Unix socket for programs of the host: they connect, write "CONNECT port" and a line feed,\n' +
      'and read OK; what the guest connects to goes to the sockets PATH_port',
  },
  {
    name: 'sibling',
    value: SIBLING_FORM,
    repeats: true,
    help: 'serve one more guest in this process; may be repeated',
  },
  {
    name: 'forward',
    value: 'CID:PORT',
    repeats: true,
    help:
      'let the other guests of this process connect to that port (or *) of that guest;\n' +
      'may be repeated',
  },
  RINGS_OPTION,
  ...SERVICE_OPTIONS,
];

/** Reads and checks the arguments of `rxvhost vsock`. Throws {@link UsageError}. */
export function parseVsockOptions(argv: readonly string[]): VsockOptions {
  const given = parseOptions('rxvhost vsock', VSOCK_OPTIONS, argv);
  const guests = [parseGuest(given), ...given.all('sibling').map(parseSibling)];
  checkApart(guests);
  const queueSize = given.get('queue-size');
  const rings = given.get('rings');
  return {
    guests,
    forwards: given.all('forward').map((text) => parseForward(text, guests)),
    device: {
      ...(queueSize === undefined ? {} : { maxQueueSize: parseQueueSize(queueSize) }),
      ...(rings === undefined ? {} : { rings: parseRings(rings) }),
    },
    once: given.has('once'),
    stats: given.has('stats'),
  };
}

function parseGuest(given: GivenOptions): GuestOptions {
  const endpoint = parseEndpoint(given);
  const cid = given.get('guest-cid');
  const udsPath = given.get('uds-path');
  if (cid === undefined) throw new UsageError('which guest is it? Give --guest-cid=CID, as 42');
  if (udsPath === undefined) {
    throw new UsageError('where are the sockets of the host? Give --uds-path=PATH');
  }
  return {
    cid: parseGuestCid(`--guest-cid=${cid}`, cid),
    endpoint,
    udsPath: parseSocketPath('--uds-path', udsPath, PORT_SUFFIX),
  };
}

function parseSibling(text: string): GuestOptions {
  const what = `--sibling=${text}`;
  const [cid = '', ...rest] = text.split(',');
  const values = new Map<string, string>();
  for (const item of rest) {
    const [, key, value] = /^(socket-path|uds-path)=(.+)$/.exec(item) ?? [];
    if (key === undefined || value === undefined || values.has(key)) {
      throw new UsageError(
        `--sibling: '${item}' is not understood, write --sibling=${SIBLING_FORM}`,
      );
    }
    values.set(key, value);
  }
  const path = values.get('socket-path');
  const udsPath = values.get('uds-path');
  if (path === undefined) {
    throw new UsageError(`${what} has no socket-path: write --sibling=${SIBLING_FORM}`);
  }
  return {
    cid: parseGuestCid(what, cid),
    endpoint: { kind: 'listen', path: parseSocketPath(what, path) },
    udsPath: udsPath === undefined ? undefined : parseSocketPath(what, udsPath, PORT_SUFFIX),
  };
}

function parseForward(text: string, guests: readonly GuestOptions[]): Forward {
  const what = `--forward=${text}`;
  const [, cidText, portText] = /^(\d+):(\d+|\*)$/.exec(text) ?? [];
  if (cidText === undefined || portText === undefined) {
    throw new UsageError(`${what} is not understood: write a guest's CID and its port, as 42:80`);
  }
  const cid = parseGuestCid(what, cidText);
  if (!guests.some((guest) => guest.cid === cid)) {
    throw new UsageError(`${what}: no guest here has CID ${cid}, add it by --sibling`);
  }
  return portText === '*' ? { cid } : { cid, port: parsePort(what, portText) };
}

function checkApart(guests: readonly GuestOptions[]): void {
  const seen = new Set<number | string>();
  for (const { cid, udsPath, endpoint } of guests) {
    const path = endpoint.kind === 'listen' ? endpoint.path : undefined;
    for (const name of [cid, udsPath, path]) {
      if (name === undefined) continue;
      if (seen.has(name)) {
        throw new UsageError(`${name} is given twice: each guest needs a CID and paths of its own`);
      }
      seen.add(name);
    }
  }
}
