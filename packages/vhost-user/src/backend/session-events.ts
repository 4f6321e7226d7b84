import type { VhostError } from '@rxvhost/core';

/** Something that a front-end did wrong, or that we could not do for it. */
export interface ProtocolFault {
  /** Number of the connection, from 1; 0 where it is about accepting connections. */
  readonly connection: number;
  /** The request, as the specification spells it, or its number; absent when it was none. */
  readonly request?: string;
  readonly error: VhostError;
}

/** One message, for traces. */
export interface TraceEvent {
  /** Number of the connection, from 1. */
  readonly connection: number;
  readonly direction: 'received' | 'sent';
  /** The request as the specification spells it; an unknown one by its number. */
  readonly request: string;
  /** Received: the sender waits for an acknowledgement. */
  readonly needReply: boolean;
  /** What the message carries, decoded; the bytes where they could not be. */
  readonly payload: unknown;
  /** File descriptors that came with it. */
  readonly fds: number;
}
