import type { Scheduler } from './scheduler.js';
import type { EndpointCounters, ResetReason } from './statistics.js';
import type { VsockConnection } from './vsock-connection.js';

/** What a connection asks of the endpoint that it belongs to. */
export interface ConnectionHost {
  readonly scheduler: Scheduler;
  readonly counters: EndpointCounters;
  /** The connection has something to send. */
  ready(connection: VsockConnection): void;
  /**
   * The connection is over on the wire: its ports are free once the RST, if one is to be sent, has a
   * place in the queue. It still counts as long as it keeps something for its user.
   */
  over(connection: VsockConnection, reset: ResetReason | undefined): void;
  /** The connection keeps nothing any more. */
  released(): void;
}
