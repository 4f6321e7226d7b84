import { VhostError } from '@rxvhost/core';

/** Bytes before an Ethernet frame's payload: destination, source, EtherType. */
export const ETHERNET_HEADER_LENGTH = 14;
/** Bytes of the shortest frame, without its checksum. Shorter payloads are filled up with zeros. */
export const ETHERNET_MIN_LENGTH = 60;

/** EtherTypes in use here; the last is set aside for experiments (IEEE 802). */
export const EtherType = { IPV4: 0x0800, ARP: 0x0806, EXPERIMENT: 0x88b5 } as const;

/** An Ethernet frame, taken apart. */
export interface EthernetFrame {
  readonly destination: Uint8Array;
  readonly source: Uint8Array;
  readonly type: number;
  /** A view; padding included. */
  readonly payload: Uint8Array;
}

/** Everybody's address. */
export const BROADCAST = new Uint8Array(6).fill(0xff);

/** Six bytes from `02:00:00:00:00:01`. Throws `EINVAL` for anything else. */
export function parseMac(text: string): Uint8Array {
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(text)) {
    throw new VhostError('EINVAL', `'${text}' is no MAC address such as 02:00:00:00:00:01`);
  }
  return Uint8Array.from(text.split(':'), (byte) => Number.parseInt(byte, 16));
}

/** `02:00:00:00:00:01` from six bytes. */
export function formatMac(mac: Uint8Array): string {
  return Array.from(mac, (byte) => byte.toString(16).padStart(2, '0')).join(':');
}

/** Puts a frame together, at least 60 bytes long. */
export function buildEthernet(
  destination: Uint8Array,
  source: Uint8Array,
  type: number,
  payload: Uint8Array,
): Uint8Array {
  const length = Math.max(ETHERNET_HEADER_LENGTH + payload.length, ETHERNET_MIN_LENGTH);
  const frame = new Uint8Array(length);
  frame.set(destination, 0);
  frame.set(source, 6);
  frame[12] = type >> 8;
  frame[13] = type & 0xff;
  frame.set(payload, ETHERNET_HEADER_LENGTH);
  return frame;
}

/** Takes a frame apart; `undefined` when it is shorter than a header. */
export function parseEthernet(frame: Uint8Array): EthernetFrame | undefined {
  if (frame.length < ETHERNET_HEADER_LENGTH) return undefined;
  return {
    destination: frame.subarray(0, 6),
    source: frame.subarray(6, 12),
    type: ((frame[12] as number) << 8) | (frame[13] as number),
    payload: frame.subarray(ETHERNET_HEADER_LENGTH),
  };
}
