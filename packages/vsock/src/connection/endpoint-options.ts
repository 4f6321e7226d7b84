import type { ConnectionOptions } from './connection-options.js';
import type { Acceptor, ConnectionType } from './roles.js';
import type { Scheduler } from './scheduler.js';

/** How a {@link VsockEndpoint} is made. */
export interface EndpointOptions {
  /** Our own address. */
  readonly cid: number;
  /** The only address that packets may come from; any by default. */
  readonly peerCid?: number;
  /** The most connections at a time, closed ones with bytes to be taken or an RST to be sent included; 1024 by default. */
  readonly maxConnections?: number;
  /** Replies that wait at most, should the carrier not stop by itself; 65,536 by default. */
  readonly maxReplies?: number;
  /** The first port for connections that we open; a random one by default. */
  readonly firstPort?: number;
  /** Decides about ports that nobody listens on; such requests are refused by default. */
  readonly fallback?: Acceptor;
  /** How connections behave that are not told otherwise. */
  readonly connections?: Partial<ConnectionOptions>;
  /** Timers; the engine's own by default. */
  readonly scheduler?: Scheduler;
}

/** Where {@link VsockEndpoint.connect} connects to, and how. */
export interface ConnectOptions extends Partial<ConnectionOptions> {
  readonly cid: number;
  readonly port: number;
  /** `stream` by default. */
  readonly type?: ConnectionType;
  /** Our port; a free one by default. */
  readonly localPort?: number;
}

export const DEFAULT_MAX_CONNECTIONS = 1024;
export const DEFAULT_MAX_REPLIES = 65_536;
