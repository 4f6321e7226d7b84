import type { Observable } from 'rxjs';
import type { ProtocolFault } from './session-events.js';

/** What a server is doing. */
export type ServerState = 'listening' | 'connected' | 'closed';

/** A front-end that has just connected. */
export interface Connection {
  /** Counts from 1. */
  readonly id: number;
  /** Process at the other end, as `unixPeer` tells it. */
  readonly pid: number;
  /** Completes when the connection has ended. */
  readonly ended$: Observable<void>;
}

/** A device that is served to front-ends, one after the other: in this thread or in another. */
export interface DeviceServer {
  /** Emits each front-end as it connects, before its first request is read. */
  readonly connections$: Observable<Connection>;
  /** What front-ends did wrong, and what could not be done for them. */
  readonly errors$: Observable<ProtocolFault>;
  /** The current state on subscription, then every change. Completes after `closed`. */
  readonly state$: Observable<ServerState>;
  /** Resolves when the server has closed. */
  readonly closed: Promise<void>;
  /** Ends it. Later calls return the same promise. */
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}
