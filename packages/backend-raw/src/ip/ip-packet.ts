/** Ethernet frames with IP packets in them, as far as an IP socket has to look. */
export const ETHERNET_LENGTH = 14;
export const IPV6_LENGTH = 40;
const IPV4_LENGTH = 20;

export const ETHER_TYPE = { IPV4: 0x0800, ARP: 0x0806, IPV6: 0x86dd } as const;
export const ICMPV6 = 58;
const FRAGMENT = 0x3fff;

/** Where a packet that leaves goes, and which of its frame's bytes are its payload. */
export interface OutgoingPacket {
  readonly family: 4 | 6;
  readonly protocol: number;
  readonly hopLimit: number;
  /** As text, for the library. */
  readonly destination: string;
  readonly source: Uint8Array;
  readonly at: number;
  readonly length: number;
}

/**
 * Reads the headers of a frame that leaves.
 * @param start - the first bytes of the frame, a copy: the guest cannot change what was checked
 * @param frameLength - of the whole frame
 * @returns undefined for what is no whole, well-formed IP packet: fragments too, since the host makes
 * the header of what it sends
 */
export function readOutgoing(start: Uint8Array, frameLength: number): OutgoingPacket | undefined {
  const view = new DataView(start.buffer, start.byteOffset, start.length);
  if (start.length < ETHERNET_LENGTH + IPV4_LENGTH) return undefined;
  switch (view.getUint16(12)) {
    case ETHER_TYPE.IPV4:
      return readIpv4(view, start, frameLength);
    case ETHER_TYPE.IPV6:
      return readIpv6(view, start, frameLength);
    default:
      return undefined;
  }
}

function readIpv4(view: DataView, start: Uint8Array, frameLength: number) {
  const ip = ETHERNET_LENGTH;
  const header = (view.getUint8(ip) & 0x0f) * 4;
  const total = view.getUint16(ip + 2);
  if (view.getUint8(ip) >> 4 !== 4 || header < IPV4_LENGTH || total < header) return undefined;
  if (ip + total > frameLength || (view.getUint16(ip + 6) & FRAGMENT) !== 0) return undefined;
  return {
    family: 4,
    protocol: view.getUint8(ip + 9),
    hopLimit: view.getUint8(ip + 8),
    destination: start.subarray(ip + 16, ip + 20).join('.'),
    source: start.slice(ip + 12, ip + 16),
    at: ip + header,
    length: total - header,
  } as const;
}

function readIpv6(view: DataView, start: Uint8Array, frameLength: number) {
  const ip = ETHERNET_LENGTH;
  if (start.length < ip + IPV6_LENGTH || view.getUint8(ip) >> 4 !== 6) return undefined;
  const length = view.getUint16(ip + 4);
  if (ip + IPV6_LENGTH + length > frameLength) return undefined;
  return {
    family: 6,
    protocol: view.getUint8(ip + 6),
    hopLimit: view.getUint8(ip + 7),
    destination: formatIpv6(start.subarray(ip + 24, ip + 40)),
    source: start.slice(ip + 8, ip + 24),
    at: ip + IPV6_LENGTH,
    length,
  } as const;
}

/** Puts an Ethernet header before a packet. */
export function frameOf(
  destination: Uint8Array,
  source: Uint8Array,
  type: number,
  packet: Uint8Array,
): Uint8Array {
  const frame = new Uint8Array(ETHERNET_LENGTH + packet.length);
  frame.set(destination, 0);
  frame.set(source, 6);
  frame[12] = type >> 8;
  frame[13] = type & 0xff;
  frame.set(packet, ETHERNET_LENGTH);
  return frame;
}

/** A received IPv4 packet, copied, for the guest at `address`: groups and broadcasts keep theirs. */
export function redirectIpv4(packet: Uint8Array, address: Uint8Array | undefined): Uint8Array {
  const copy = packet.slice();
  const header = ((copy[0] ?? 0) & 0x0f) * 4;
  const isUnicast = (copy[16] ?? 0) < 224;
  if (address === undefined || !isUnicast || header < IPV4_LENGTH || copy.length < header) {
    return copy;
  }
  copy.set(address, 16);
  copy.set([0, 0], 10);
  const checksum = internetChecksum(copy.subarray(0, header));
  copy.set([checksum >> 8, checksum & 0xff], 10);
  return copy;
}

/** An IPv6 packet around a payload: raw sockets give no header. */
export function buildIpv6(
  source: Uint8Array,
  destination: Uint8Array,
  nextHeader: number,
  hopLimit: number,
  payload: Uint8Array,
): Uint8Array {
  const packet = new Uint8Array(IPV6_LENGTH + payload.length);
  packet[0] = 0x60;
  packet[4] = payload.length >> 8;
  packet[5] = payload.length & 0xff;
  packet[6] = nextHeader;
  packet[7] = hopLimit;
  packet.set(source, 8);
  packet.set(destination, 24);
  packet.set(payload, IPV6_LENGTH);
  return packet;
}

/** The Internet checksum (RFC 1071). @param sum - of a pseudo header, where there is one */
export function internetChecksum(bytes: Uint8Array, sum = 0): number {
  let total = sum;
  for (let at = 0; at < bytes.length; at += 2) {
    total += ((bytes[at] as number) << 8) | (bytes[at + 1] ?? 0);
  }
  while (total > 0xffff) total = (total & 0xffff) + Math.floor(total / 0x10000);
  return ~total & 0xffff;
}

/** `fe80:0:0:0:0:0:0:1` from 16 bytes. */
export function formatIpv6(address: Uint8Array): string {
  const view = new DataView(address.buffer, address.byteOffset, 16);
  return Array.from({ length: 8 }, (_, group) => view.getUint16(2 * group).toString(16)).join(':');
}

/** 16 bytes from the text of an address, as the library writes it. */
export function parseIpv6(text: string): Uint8Array {
  const plain = text.replace(/%.*$/, '').replace(/(\d+)\.(\d+)\.(\d+)\.(\d+)$/, (_, ...parts) => {
    const [a = 0, b = 0, c = 0, d = 0] = parts.slice(0, 4).map(Number);
    return `${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`;
  });
  const [head = '', tail] = plain.split('::');
  const groups = (side: string) => side.split(':').filter((group) => group !== '');
  const first = groups(head);
  const last = groups(tail ?? '');
  const zeros = tail === undefined ? 0 : Math.max(0, 8 - first.length - last.length);
  const bytes = new Uint8Array(16);
  const view = new DataView(bytes.buffer);
  for (const [index, group] of [...first, ...Array<string>(zeros).fill('0'), ...last].entries()) {
    if (index < 8) view.setUint16(2 * index, Number.parseInt(group, 16));
  }
  return bytes;
}
