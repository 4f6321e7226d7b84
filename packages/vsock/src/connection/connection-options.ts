/** How connections behave; every value has a default. */
export interface ConnectionOptions {
  /** Bytes kept for what is received, 1 to 2^30: what a peer may send before it is taken. */
  readonly bufferSize: number;
  /** Bytes that `send` takes before it says to wait. */
  readonly sendMark: number;
  /** The longest message taken in, in bytes; never less than `bufferSize`. */
  readonly maxMessageSize: number;
  /** Milliseconds for an answer to a request for a connection. */
  readonly connectTimeout: number;
  /** Milliseconds from a close until the peer must have agreed. */
  readonly lingerTime: number;
  /** Where both sides' counts of bytes begin. Only tests change it: on the wire it is 0. */
  readonly startCount: number;
}

/** Linux's values, where it has them. */
export const DEFAULT_CONNECTION_OPTIONS: ConnectionOptions = {
  bufferSize: 256 * 1024,
  sendMark: 256 * 1024,
  maxMessageSize: 256 * 1024,
  connectTimeout: 2000,
  lingerTime: 8000,
  startCount: 0,
};
