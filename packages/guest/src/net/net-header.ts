/** The header before each frame, `virtio_net_hdr` (virtio 1.2, 5.1.6). All fields little-endian. */
export interface NetHeader {
  /** NEEDS_CSUM 1, DATA_VALID 2, … */
  readonly flags: number;
  /** NONE 0, TCPV4 1, UDP 3, TCPV6 4, UDP_L4 5; with ECN 0x80. */
  readonly gsoType: number;
  readonly headerLength: number;
  readonly gsoSize: number;
  readonly checksumStart: number;
  readonly checksumOffset: number;
  /** Receive buffers that the frame fills; not in 10-byte headers, where it is 0. */
  readonly bufferCount: number;
  /** In 20-byte headers (HASH_REPORT): the flow's hash, and what was hashed, 0 for nothing. */
  readonly hash?: { readonly value: number; readonly report: number };
}

/** A header that asks for nothing. */
export const PLAIN_NET_HEADER: NetHeader = {
  flags: 0,
  gsoType: 0,
  headerLength: 0,
  gsoSize: 0,
  checksumStart: 0,
  checksumOffset: 0,
  bufferCount: 0,
};

/** Writes `header` at the beginning of `target`, in 10, 12 or 20 bytes. */
export function writeNetHeader(target: Uint8Array, header: NetHeader, length: 10 | 12 | 20): void {
  const view = new DataView(target.buffer, target.byteOffset, length);
  view.setUint8(0, header.flags);
  view.setUint8(1, header.gsoType);
  view.setUint16(2, header.headerLength, true);
  view.setUint16(4, header.gsoSize, true);
  view.setUint16(6, header.checksumStart, true);
  view.setUint16(8, header.checksumOffset, true);
  if (length >= 12) view.setUint16(10, header.bufferCount, true);
  if (length === 20) {
    view.setUint32(12, header.hash?.value ?? 0, true);
    view.setUint32(16, header.hash?.report ?? 0, true);
  }
}

/** Reads the header at the beginning of `source`. */
export function readNetHeader(source: Uint8Array, length: 10 | 12 | 20): NetHeader {
  const view = new DataView(source.buffer, source.byteOffset, length);
  return {
    flags: view.getUint8(0),
    gsoType: view.getUint8(1),
    headerLength: view.getUint16(2, true),
    gsoSize: view.getUint16(4, true),
    checksumStart: view.getUint16(6, true),
    checksumOffset: view.getUint16(8, true),
    bufferCount: length >= 12 ? view.getUint16(10, true) : 0,
    ...(length === 20 && {
      hash: { value: view.getUint32(12, true), report: view.getUint16(16, true) },
    }),
  };
}
