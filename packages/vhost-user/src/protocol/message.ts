import { VhostError } from '@rxvhost/core';
import type { ReceivedFds } from '../channel/received-fds.js';
import type { BackendRequests } from './backend-requests.js';
import type { ProtocolFeature } from './features.js';
import type { Codec } from './layout.js';
import type { VringFd } from './payloads.js';

/** One row of the message table: everything that there is to know about a request. */
export interface Message<Payload, Reply> {
  readonly id: number;
  readonly payload: Codec<Payload>;
  /** The request's own reply. Absent: the front-end may ask for an acknowledgement instead. */
  readonly reply?: Codec<Reply>;
  /** How many file descriptors come with it. Absent: none. */
  readonly fds?: number | FdCount<Payload>;
  /** How many more than that are closed without complaint: some front-ends send them needlessly. */
  readonly strayFds?: number;
  /** The protocol feature that must have been negotiated. */
  readonly gate?: ProtocolFeature;
  /** The own reply is an acknowledgement, and tells a failure by its errno. */
  readonly acknowledgement?: boolean;
  /** The payload of the own reply that tells a failure, instead of a negative acknowledgement. */
  readonly refusal?: (error: VhostError) => Uint8Array;
  /** The file descriptors that travel with the own reply. */
  readonly replyFds?: ReplyFds<Reply>;
  /** A front-end that does not hear of a refusal would go wrong: the session ends where it cannot. */
  readonly mustBeHeard?: boolean;
  /** Carries it out. What it returns is the reply; what it throws is the refusal. */
  handle(backend: BackendRequests, payload: Payload, fds: ReceivedFds): Reply | Promise<Reply>;
}

/** Says how many file descriptors belong to a payload. */
export interface FdCount<Payload> {
  of(payload: Payload): number;
}

/** How file descriptors travel with a reply. */
export interface ReplyFds<Reply> {
  /** Those to send along; they are closed once they are sent. */
  of(reply: Reply): readonly number[];
  /** The reply as whoever asked gets it, with what came along; he owns what is taken. */
  complete(reply: Reply, fds: ReceivedFds): Reply;
}

/** A row for a request with a reply of its own. */
export function query<Payload, Reply>(
  row: Message<Payload, Reply> & { readonly reply: Codec<Reply> },
): Message<Payload, Reply> {
  return row;
}

/** A row for a request that is acknowledged at most. */
export function command<Payload>(row: Message<Payload, void>): Message<Payload, void> {
  return row;
}

/** Bytes as they come. */
const BYTES: Codec<Uint8Array> = {
  name: 'bytes',
  encode: (bytes) => bytes,
  decode: (bytes) => bytes,
};

/**
 * A row for a request behind a protocol feature that we never offer. What it carries does not matter;
 * that it has a reply of its own does: whoever sends it all the same waits for one.
 */
export function unserved({
  id,
  gate,
  replies,
}: {
  readonly id: number;
  readonly gate: ProtocolFeature;
  readonly replies: boolean;
}): Message<Uint8Array, Uint8Array> {
  return {
    id,
    payload: BYTES,
    ...(replies && { reply: BYTES }),
    gate,
    handle() {
      throw new VhostError('EOPNOTSUPP', `protocol feature ${gate} is not offered`);
    },
  };
}

/** How many file descriptors must come with `payload`. */
export function expectedFds<Payload>(row: Message<Payload, unknown>, payload: Payload): number {
  const { fds = 0 } = row;
  return typeof fds === 'number' ? fds : fds.of(payload);
}

/** The eventfd of a ring, or none where its word says so. */
export function oneUnlessAbsent(): FdCount<VringFd> {
  return { of: ({ hasFd }) => (hasFd ? 1 : 0) };
}

/** What came, where something was to come. */
export function present({ hasFd }: VringFd, fds: ReceivedFds): ReceivedFds | undefined {
  return hasFd ? fds : undefined;
}
