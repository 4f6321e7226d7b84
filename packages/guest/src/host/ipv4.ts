import { VhostError } from '@rxvhost/core';
import { internetChecksum } from './checksum.js';

/** IP protocol numbers in use here. */
export const IpProtocol = { ICMP: 1 } as const;

const HEADER_LENGTH = 20;

/** An IPv4 packet, taken apart (RFC 791). */
export interface Ipv4Packet {
  readonly source: Uint8Array;
  readonly destination: Uint8Array;
  readonly protocol: number;
  readonly payload: Uint8Array;
}

/** Four bytes from `10.0.0.1`. Throws `EINVAL` for anything else. */
export function parseIp(text: string): Uint8Array {
  const parts = text.split('.');
  if (parts.length !== 4 || parts.some((part) => !/^\d{1,3}$/.test(part) || Number(part) > 255)) {
    throw new VhostError('EINVAL', `'${text}' is no IPv4 address such as 10.0.0.1`);
  }
  return Uint8Array.from(parts, Number);
}

/** `10.0.0.1` from four bytes. */
export function formatIp(address: Uint8Array): string {
  return address.join('.');
}

/** A packet without options or fragments, lifetime 64 hops. */
export function buildIpv4(packet: Ipv4Packet): Uint8Array {
  const bytes = new Uint8Array(HEADER_LENGTH + packet.payload.length);
  const view = new DataView(bytes.buffer);
  view.setUint8(0, 0x45);
  view.setUint16(2, bytes.length);
  view.setUint8(8, 64);
  view.setUint8(9, packet.protocol);
  bytes.set(packet.source, 12);
  bytes.set(packet.destination, 16);
  view.setUint16(10, internetChecksum(bytes.subarray(0, HEADER_LENGTH)));
  bytes.set(packet.payload, HEADER_LENGTH);
  return bytes;
}

/** Reads a packet; `undefined` when it is cut short, a fragment, or its checksum is wrong. */
export function parseIpv4(bytes: Uint8Array): Ipv4Packet | undefined {
  if (bytes.length < HEADER_LENGTH) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const headerLength = (view.getUint8(0) & 0x0f) * 4;
  const length = view.getUint16(2);
  const fragment = (view.getUint16(6) & 0x3fff) !== 0;
  if (view.getUint8(0) >> 4 !== 4 || headerLength < HEADER_LENGTH || fragment) return undefined;
  if (length < headerLength || length > bytes.length) return undefined;
  if (internetChecksum(bytes.subarray(0, headerLength)) !== 0) return undefined;
  return {
    source: bytes.subarray(12, 16),
    destination: bytes.subarray(16, 20),
    protocol: view.getUint8(9),
    payload: bytes.subarray(headerLength, length),
  };
}
