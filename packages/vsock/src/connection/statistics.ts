/** Why we sent an RST. */
export interface ResetCounters {
  /** Nobody listens on the port, or who does said no. */
  refused: number;
  /** The packet belongs to no connection. */
  unknown: number;
  /** The type is not known, was not negotiated, or is not the connection's. */
  type: number;
  /** There are as many connections as there may be. */
  limit: number;
  /** An operation that does not belong into the connection's state, or is none. */
  protocol: number;
  /** The peer sent more than it had credit for. */
  overrun: number;
  /** A message was longer than `maxMessageSize`, or too many waited. */
  message: number;
  /** A connection was not answered in time. */
  timeout: number;
  /** The peer did not agree to a close in time. */
  linger: number;
  /** The user ended the connection at once. */
  aborted: number;
  /** The answer to a peer's close: the usual end of a connection. */
  closed: number;
}

export type ResetReason = keyof ResetCounters;

/** Why a packet was thrown away without an answer. */
export interface DropCounters {
  /** Addressed to somebody else. */
  destination: number;
  /** Sent by somebody who may not, or cannot, send. */
  source: number;
  /** An RST for a connection that is not there. */
  reset: number;
  /** Payload from a peer that had said that no more would come. */
  afterShutdown: number;
  /** The answer had no place in the queue of replies: the carrier went on although it was full. */
  replies: number;
}

export type DropReason = keyof DropCounters;

/** What has happened on an endpoint. Counts only go up, but for `open`. */
export interface EndpointCounters {
  /** Connections there are now, those that wait for an answer included. */
  open: number;
  /** Connections that this side opened, and those of them that were not accepted. */
  opened: number;
  openFailed: number;
  /** Connections that this side accepted. */
  accepted: number;
  /** Packets and payload bytes. */
  packetsReceived: number;
  packetsSent: number;
  bytesReceived: number;
  bytesSent: number;
  /** Times that a connection had something to send and the peer no room. */
  creditStalls: number;
  /** Packets whose credit could not be true; the fields were ignored. */
  falseCredit: number;
  resetsReceived: number;
  resetsSent: ResetCounters;
  drops: DropCounters;
}

/** A copy of an endpoint's counters. */
export type EndpointStatistics = Readonly<EndpointCounters>;

/** Counters at zero. */
export function newEndpointCounters(): EndpointCounters {
  return {
    open: 0,
    opened: 0,
    openFailed: 0,
    accepted: 0,
    packetsReceived: 0,
    packetsSent: 0,
    bytesReceived: 0,
    bytesSent: 0,
    creditStalls: 0,
    falseCredit: 0,
    resetsReceived: 0,
    resetsSent: {
      refused: 0,
      unknown: 0,
      type: 0,
      limit: 0,
      protocol: 0,
      overrun: 0,
      message: 0,
      timeout: 0,
      linger: 0,
      aborted: 0,
      closed: 0,
    },
    drops: { destination: 0, source: 0, reset: 0, afterShutdown: 0, replies: 0 },
  };
}
