import { VhostError } from '@rxvhost/core';
import type { ReceivedMessage } from '../channel/message-channel.js';
import type { BackendRequests } from '../protocol/backend-requests.js';
import { type ProtocolFeature, protocolFeatures } from '../protocol/features.js';
import { expectedFds, type Message } from '../protocol/message.js';
import { requestById } from '../protocol/message-table.js';

/** A request's own reply: its bytes, and the file descriptors that it takes along and owns. */
export interface OwnReply {
  readonly payload: Uint8Array;
  readonly fds: readonly number[];
}

/**
 * Carries out one request by its row of the message table: gate, payload, file descriptors, handler,
 * in this order. Returns the request's own reply, undefined when it has none. Throws the refusal, or
 * rejects with it when the request takes time. Every handler has taken the file descriptors it wants
 * when this returns.
 * @param onDecoded - told what the payload says, for traces
 */
export function dispatch(
  { header, payload, fds }: ReceivedMessage,
  requests: BackendRequests,
  onDecoded: (payload: unknown) => void,
): OwnReply | undefined | Promise<OwnReply | undefined> {
  const request = requestById(header.request);
  if (request === undefined) {
    onDecoded(payload);
    throw new VhostError('EOPNOTSUPP', 'this request is unknown');
  }
  const { row } = request;
  const decoded = decodeIfOpen(row, payload, requests, onDecoded);
  checkFds(row, decoded, fds.count);
  const reply = row.handle(requests, decoded, fds);
  if (reply instanceof Promise) return reply.then((value) => encodeReply(row, value));
  return encodeReply(row, reply);
}

function encodeReply(row: Message<unknown, unknown>, value: unknown): OwnReply | undefined {
  if (row.reply === undefined) return undefined;
  return { payload: row.reply.encode(value), fds: row.replyFds?.of(value) ?? [] };
}

function decodeIfOpen(
  row: Message<unknown, unknown>,
  payload: Uint8Array,
  requests: BackendRequests,
  onDecoded: (payload: unknown) => void,
): unknown {
  let seen: unknown = payload;
  try {
    checkGate(row.gate, requests.protocolFeatures);
    seen = row.payload.decode(payload);
    return seen;
  } finally {
    onDecoded(seen);
  }
}

function checkGate(gate: ProtocolFeature | undefined, negotiated: bigint): void {
  if (gate === undefined || (negotiated & protocolFeatures(gate)) !== 0n) return;
  throw new VhostError('EOPNOTSUPP', `protocol feature ${gate} was not negotiated`);
}

function checkFds(row: Message<unknown, unknown>, payload: unknown, count: number): void {
  const expected = expectedFds(row, payload);
  if (count >= expected && count <= expected + (row.strayFds ?? 0)) return;
  throw new VhostError('EINVAL', `${count} file descriptors came with it, not ${expected}`);
}
