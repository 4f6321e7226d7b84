/** Packets for offload tests, written and checked byte by byte: nothing here is the code under test. */
import { GSO, HEADER_FLAG } from '../../src/index.js';

export type Protocol = 'tcp' | 'udp';

/** A large packet as a driver hands it over. */
export interface LargePacket {
  readonly version: 4 | 6;
  readonly protocol: Protocol;
  readonly payload: Uint8Array;
  /** VLAN tags before the IP header. */
  readonly tags?: number;
  /** Bytes of options in the IPv4 or TCP header, of a destination-options header in IPv6. */
  readonly ipOptions?: number;
  readonly tcpOptions?: number;
  readonly tcpFlags?: number;
}

export const TCP_FLAGS = { FIN: 1, PSH: 8, ACK: 16, CWR: 128 } as const;
const SEQUENCE = 0xffff_f000;
const IDENTIFICATION = 0xfffe;

/** One packet, taken apart. */
export interface TakenApart {
  readonly payload: Uint8Array;
  readonly sequence: number;
  readonly flags: number;
  readonly identification: number;
  /** For fragments: offset in bytes, and whether more follow. */
  readonly offset: number;
  readonly more: boolean;
}

/** The ones' complement sum of `bytes` in network order, as RFC 1071 writes it. */
export function onesComplementSum(bytes: Iterable<number>): number {
  let sum = 0;
  let high = true;
  for (const byte of bytes) {
    sum += high ? byte * 256 : byte;
    high = !high;
  }
  while (sum > 0xffff) sum = (sum % 0x10000) + Math.floor(sum / 0x10000);
  return sum;
}

/** A frame with a virtio-net header of 12 bytes that leaves checksum and segmentation to the device. */
export function unfinishedFrame(packet: LargePacket, gsoType: number, gsoSize: number): Uint8Array {
  const { version, protocol, payload, tags = 0 } = packet;
  const { ipOptions = 0, tcpOptions = 0, tcpFlags = TCP_FLAGS.ACK } = packet;
  const ip = 14 + 4 * tags;
  const transport = ip + (version === 4 ? 20 : 40) + ipOptions;
  const headers = transport + (protocol === 'tcp' ? 20 + tcpOptions : 8);
  const frame = new Uint8Array(12 + headers + payload.length);
  const view = new DataView(frame.buffer, 12);
  for (let byte = 0; byte < 12; byte += 1) view.setUint8(byte, byte + 2);
  for (let tag = 0; tag < tags; tag += 1) view.setUint16(12 + 4 * tag, 0x8100);
  view.setUint16(ip - 2, version === 4 ? 0x0800 : 0x86dd);
  const number = protocol === 'tcp' ? 6 : 17;
  const length = headers - transport + payload.length;
  if (version === 4) {
    view.setUint8(ip, 0x40 | ((20 + ipOptions) / 4));
    view.setUint16(ip + 2, transport - ip + length);
    view.setUint16(ip + 4, IDENTIFICATION);
    view.setUint8(ip + 8, 64);
    view.setUint8(ip + 9, number);
    for (let byte = 0; byte < 8; byte += 1) view.setUint8(ip + 12 + byte, 10 + byte);
    for (let byte = 0; byte < ipOptions; byte += 1) view.setUint8(ip + 20 + byte, 1);
    const sum = onesComplementSum(frame.subarray(12 + ip, 12 + transport));
    view.setUint16(ip + 10, ~sum & 0xffff);
  } else {
    view.setUint8(ip, 0x60);
    view.setUint16(ip + 4, ipOptions + length);
    view.setUint8(ip + 6, ipOptions > 0 ? 60 : number);
    for (let byte = 0; byte < 32; byte += 1) view.setUint8(ip + 8 + byte, 0x20 + byte);
    if (ipOptions > 0) {
      view.setUint8(ip + 40, number);
      view.setUint8(ip + 41, ipOptions / 8 - 1);
    }
  }
  view.setUint16(transport, 1234);
  view.setUint16(transport + 2, 80);
  if (protocol === 'tcp') {
    view.setUint32(transport + 4, SEQUENCE);
    view.setUint8(transport + 12, ((20 + tcpOptions) / 4) << 4);
    view.setUint8(transport + 13, tcpFlags);
  } else {
    view.setUint16(transport + 4, length);
  }
  frame.set(payload, 12 + headers);
  const addresses = frame.subarray(
    12 + ip + (version === 4 ? 12 : 8),
    12 + ip + (version === 4 ? 20 : 40),
  );
  const offset = protocol === 'tcp' ? 16 : 6;
  view.setUint16(
    transport + offset,
    onesComplementSum([...addresses, 0, number, length >> 8, length & 0xff]),
  );
  const header = new DataView(frame.buffer, 0, 12);
  header.setUint8(0, HEADER_FLAG.NEEDS_CSUM);
  header.setUint8(1, gsoType);
  header.setUint16(2, headers, true);
  header.setUint16(4, gsoSize, true);
  header.setUint16(6, transport, true);
  header.setUint16(8, offset, true);
  return frame;
}

/** The `gso_type` that fits a packet. */
export function gsoTypeOf({ version, protocol }: LargePacket, fragments = false): number {
  if (protocol === 'udp') return fragments ? GSO.UDP : GSO.UDP_L4;
  return version === 4 ? GSO.TCPV4 : GSO.TCPV6;
}

/** Takes a finished frame apart; throws where a length or a checksum in it is wrong. */
export function takeApart(frame: Uint8Array, { tags = 0 }: Partial<LargePacket> = {}): TakenApart {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.length);
  const ip = 14 + 4 * tags;
  const version = view.getUint16(ip - 2) === 0x0800 ? 4 : 6;
  let transport: number;
  let number: number;
  let identification = 0;
  let offset = 0;
  let more = false;
  let fragment = false;
  if (version === 4) {
    transport = ip + (view.getUint8(ip) & 15) * 4;
    number = view.getUint8(ip + 9);
    identification = view.getUint16(ip + 4);
    const word = view.getUint16(ip + 6);
    offset = (word & 0x1fff) * 8;
    more = (word & 0x2000) !== 0;
    fragment = word !== 0;
    equal(view.getUint16(ip + 2), frame.length - ip, 'IPv4 length');
    equal(onesComplementSum(frame.subarray(ip, transport)), 0xffff, 'IPv4 checksum');
  } else {
    transport = ip + 40;
    number = view.getUint8(ip + 6);
    equal(view.getUint16(ip + 4), frame.length - transport, 'IPv6 length');
    for (;;) {
      if (number === 44) {
        number = view.getUint8(transport);
        const word = view.getUint16(transport + 2);
        offset = word & 0xfff8;
        more = (word & 1) === 1;
        identification = view.getUint32(transport + 4);
        fragment = true;
        transport += 8;
      } else if (number === 60) {
        number = view.getUint8(transport);
        transport += (view.getUint8(transport + 1) + 1) * 8;
      } else break;
    }
  }
  if (fragment) {
    return { payload: frame.slice(transport), sequence: 0, flags: 0, identification, offset, more };
  }
  const length = frame.length - transport;
  checkTransport(
    frame.subarray(ip + (version === 4 ? 12 : 8), ip + (version === 4 ? 20 : 40)),
    number,
    frame.subarray(transport),
  );
  const tcp = number === 6;
  if (!tcp) equal(view.getUint16(transport + 4), length, 'UDP length');
  const headers = transport + (tcp ? (view.getUint8(transport + 12) >> 4) * 4 : 8);
  return {
    payload: frame.slice(headers),
    sequence: tcp ? view.getUint32(transport + 4) - SEQUENCE : 0,
    flags: tcp ? view.getUint8(transport + 13) : 0,
    identification: version === 4 ? (identification - IDENTIFICATION) & 0xffff : 0,
    offset,
    more,
  };
}

/** Throws unless the transport checksum over `segment` and its pseudo header is right. */
export function checkTransport(addresses: Uint8Array, number: number, segment: Uint8Array): void {
  const length = segment.length;
  const pseudo = [...addresses, 0, number, length >> 8, length & 0xff];
  equal(onesComplementSum([...pseudo, ...segment]), 0xffff, 'transport checksum');
  const field = number === 6 ? 16 : 6;
  const zero = ((segment[field] as number) | (segment[field + 1] as number)) === 0;
  if (number === 17 && zero) throw new Error('a UDP checksum of 0 means none');
}

function equal(found: number, wanted: number, what: string): void {
  if (found !== wanted) throw new Error(`${what}: ${found}, should be ${wanted}`);
}
