import { internetChecksum } from './checksum.js';

/** An ICMP echo request or reply (RFC 792). */
export interface IcmpEcho {
  readonly kind: 'request' | 'reply';
  readonly identifier: number;
  readonly sequence: number;
  readonly data: Uint8Array;
}

const HEADER_LENGTH = 8;
const REQUEST = 8;
const REPLY = 0;

export function buildEcho(echo: IcmpEcho): Uint8Array {
  const bytes = new Uint8Array(HEADER_LENGTH + echo.data.length);
  const view = new DataView(bytes.buffer);
  view.setUint8(0, echo.kind === 'request' ? REQUEST : REPLY);
  view.setUint16(4, echo.identifier);
  view.setUint16(6, echo.sequence);
  bytes.set(echo.data, HEADER_LENGTH);
  view.setUint16(2, internetChecksum(bytes));
  return bytes;
}

/** Reads one; `undefined` for another type, too few bytes or a wrong checksum. `data` is a view. */
export function parseEcho(bytes: Uint8Array): IcmpEcho | undefined {
  if (bytes.length < HEADER_LENGTH || internetChecksum(bytes) !== 0) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const type = view.getUint8(0);
  if ((type !== REQUEST && type !== REPLY) || view.getUint8(1) !== 0) return undefined;
  return {
    kind: type === REQUEST ? 'request' : 'reply',
    identifier: view.getUint16(4),
    sequence: view.getUint16(6),
    data: bytes.subarray(HEADER_LENGTH),
  };
}
