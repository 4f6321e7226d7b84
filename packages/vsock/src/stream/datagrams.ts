import { VhostError } from '@rxvhost/core';

/** What every call about datagrams answers. */
function refuse(): never {
  throw new VhostError('EOPNOTSUPP', 'vsock: virtio carries no datagrams');
}

/** Datagram sockets: virtio-vsock has none, and says so to whoever asks (seed D8). */
export const DATAGRAMS = {
  /** Whether a datagram may be sent to this address: never. */
  isAllowed: (_cid: number, _port: number): boolean => false,
  /** Each throws `EOPNOTSUPP`. */
  bind: (_port: number): never => refuse(),
  send: (_bytes: Uint8Array, _cid: number, _port: number): never => refuse(),
  receive: (): never => refuse(),
} as const;
