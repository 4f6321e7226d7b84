import type { VhostError } from '@rxvhost/core';
import type { ConnectionType, VsockAddress } from './roles.js';
import type { ResetReason } from './statistics.js';

/** What {@link VsockEvent} tells of, beside its kind. */
interface About {
  readonly type: ConnectionType;
  readonly local: VsockAddress;
  readonly remote: VsockAddress;
}

/** Something that happened to a connection, or to all of them. */
export type VsockEvent =
  /** A connection began, accepted by us or to be accepted by the peer. */
  | ({ readonly kind: 'opening'; readonly by: 'us' | 'peer' } & About)
  /** A connection is over; `reset` is why we sent an RST, if we did. */
  | ({ readonly kind: 'closed'; readonly reset: ResetReason | undefined } & About)
  /** The transport was reset, and every connection with it. */
  | { readonly kind: 'transport-reset'; readonly reason: VhostError };
