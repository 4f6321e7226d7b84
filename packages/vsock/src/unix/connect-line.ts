import { isPort } from '../protocol/limits.js';

/** `CONNECT 4294967294\n` and then some: a line that has not ended by here is no such line. */
const MAX_LINE = 32;
const LINE_FEED = 10;
const LINE = /^CONNECT (\d{1,10})$/;

/** What the bytes so far come to. */
export type ConnectRequest =
  | { readonly kind: 'incomplete' }
  | { readonly kind: 'invalid' }
  | {
      readonly kind: 'complete';
      /** The guest's port. */
      readonly port: number;
      /** What came behind the line: for the guest, once it is connected. */
      readonly rest: Buffer;
    };

/**
 * Reads the line by which a host's program asks for a port of the guest's, in whatever pieces it
 * comes (hazard T75). Keeps no more than a line's worth of bytes.
 */
export class ConnectLine {
  #bytes: Buffer = Buffer.alloc(0);

  /** More bytes came. After anything but `incomplete` the object is done with. */
  push(bytes: Buffer): ConnectRequest {
    const all = this.#bytes.length === 0 ? bytes : Buffer.concat([this.#bytes, bytes]);
    const end = all.subarray(0, MAX_LINE).indexOf(LINE_FEED);
    if (end < 0) {
      if (all.length >= MAX_LINE) return { kind: 'invalid' };
      this.#bytes = all;
      return { kind: 'incomplete' };
    }
    const [, digits] = LINE.exec(all.toString('latin1', 0, end)) ?? [];
    const port = Number(digits);
    if (digits === undefined || !isPort(port)) return { kind: 'invalid' };
    return { kind: 'complete', port, rest: all.subarray(end + 1) };
  }
}
