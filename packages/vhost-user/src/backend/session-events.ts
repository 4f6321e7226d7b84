import type { VhostError } from '@rxvhost/core';
import type { Subject } from 'rxjs';
import type { ChannelReports } from './device-reports.js';

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

/** Where a connection's events go. */
export interface SessionReports {
  readonly errors$: Subject<ProtocolFault>;
  readonly trace$: Subject<TraceEvent>;
}

/** Notes what happens on the back-end's own channel beside everything else of its connection. */
export function channelReports(
  connection: number,
  { errors$, trace$ }: SessionReports,
): ChannelReports {
  return {
    failed: (error) => errors$.next({ connection, request: 'SET_BACKEND_REQ_FD', error }),
    sent(request, payload, needReply) {
      if (!trace$.observed) return;
      trace$.next({ connection, direction: 'sent', request, needReply, payload, fds: 0 });
    },
  };
}
