/**
 * Finishes in software what a virtio-net header left to others (hazards T37, T55): completes a partial
 * checksum, cuts a large segment into frames.
 *
 * A frame that is to be segmented is one with headers for a packet that is too large. Each segment
 * gets a copy of them, with its own lengths, sequence numbers and checksums, before its share of the
 * payload:
 *
 * | `gso_type` | each segment is | what differs |
 * |---|---|---|
 * | TCPV4, TCPV6 | a TCP segment | sequence number; FIN and PSH on the last only, CWR on the first only |
 * | UDP_L4 | a UDP datagram | length |
 * | UDP | an IP fragment of one datagram | fragment offset; the UDP header is in the first one's share |
 *
 * IPv4 identifications count up, but for fragments, which share one.
 */
import { copyBytes } from '../../memory/copy-bytes.js';
import { checksumOf, sumBytes, sumWord, transportChecksumOf } from './checksum.js';
import { GSO, HEADER_FLAG, HEADER_OFFSET } from './header-fields.js';
import { IPV6_LENGTH, MAX_HEADERS_LENGTH, PacketHeaders, PROTOCOL } from './packet-headers.js';

/** The most segments of one frame: 64 KiB at the smallest segment size that TCP uses, 48, and some more. */
export const MAX_FRAME_SEGMENTS = 2048;

/** What the length field of an IP header can say, and a fragment's offset. */
const MAX_PACKET = 65535;

const TCP = { LENGTH: 20, SEQUENCE: 4, DATA_OFFSET: 12, FLAGS: 13, CHECKSUM: 16 } as const;
const TCP_FLAG = { FIN: 0x01, PSH: 0x08, CWR: 0x80 } as const;
const UDP = { LENGTH: 8, LENGTH_FIELD: 4, CHECKSUM: 6 } as const;
const IPV6_FRAGMENT = { PROTOCOL: 44, LENGTH: 8 } as const;

/** The longest headers of a segment: an IPv6 fragment's are longer than its packet's. */
export const MAX_SEGMENT_HEADERS = MAX_HEADERS_LENGTH + IPV6_FRAGMENT.LENGTH;

/** Works on one frame at a time, in private memory that no guest can change meanwhile (T38). */
export class FrameFinisher {
  /** Frames that become of it; 1 for one that is whole after {@link prepare}. */
  segments = 1;
  /** Whether it is to be cut up, be it into one segment. */
  segmented = false;

  readonly #headers = new PacketHeaders();
  /** The frame's first byte, without virtio-net header, and its end. */
  #at = 0;
  #end = 0;
  #type: number = GSO.NONE;
  /** Where the payload that is shared out begins, and each share. */
  #payload = 0;
  #share = 0;
  #fragmentId = 0;

  /** @param view - the private memory that frames are in */
  constructor(private readonly view: DataView) {}

  /**
   * Reads the header at `at` and checks it against the frame behind it, which ends at `end`. Without
   * segmentation the frame is finished when this returns.
   * @returns false for a frame that does not fit its header
   */
  prepare(at: number, headerLength: number, end: number): boolean {
    const { view } = this;
    const flags = view.getUint8(at + HEADER_OFFSET.FLAGS);
    const start = at + headerLength;
    this.#at = start;
    this.#end = end;
    this.#type = view.getUint8(at + HEADER_OFFSET.GSO_TYPE) & ~GSO.ECN;
    this.segments = 1;
    this.segmented = this.#type !== GSO.NONE;
    const needsChecksum = (flags & HEADER_FLAG.NEEDS_CSUM) !== 0;
    if (!needsChecksum) return !this.segmented;
    const from = start + view.getUint16(at + HEADER_OFFSET.CSUM_START, true);
    const field = from + view.getUint16(at + HEADER_OFFSET.CSUM_OFFSET, true);
    if (field + 2 > end) return false;
    if (this.segmented) {
      return this.#measure(view.getUint16(at + HEADER_OFFSET.GSO_SIZE, true), from, field);
    }
    this.#completeChecksum(from, field);
    return true;
  }

  /** Writes the headers of segment `index` to `to` in `target`; returns their length. */
  writeHeaders(index: number, target: DataView, to: number): number {
    const length = this.#payload - this.#at;
    // The headers of the packet as a whole: an IPv6 fragment puts one more in between.
    copyBytes(this.view, this.#at, target, to, length);
    switch (this.#type) {
      case GSO.UDP:
        return this.#headers.version === 4
          ? this.#fragmentIpv4(index, target, to, length)
          : this.#fragmentIpv6(index, target, to, length);
      case GSO.UDP_L4:
        this.#shortenIp(index, target, to, length, index);
        this.#finishUdp(index, target, to, length);
        return length;
      default:
        this.#shortenIp(index, target, to, length, index);
        this.#finishTcp(index, target, to, length);
        return length;
    }
  }

  /** Where the payload of segment `index` begins in the frame's memory. */
  payloadStart(index: number): number {
    return this.#payload + index * this.#share;
  }

  /** Bytes of that payload. */
  payloadLength(index: number): number {
    return Math.min(this.#share, this.#end - this.payloadStart(index));
  }

  #completeChecksum(from: number, field: number): void {
    // The field holds the pseudo header's sum already and is part of what is added up.
    const sum = sumBytes(this.view, from, this.#end);
    this.view.setUint16(field, transportChecksumOf(sum), true);
    // Fragments that are made in two goes must agree on it, so it comes from the datagram.
    this.#fragmentId = sum % 0x1_0000_0000;
  }

  /** Finds headers, payload and shares. False where they are not what `gso_type` says. */
  #measure(size: number, from: number, field: number): boolean {
    const { view } = this;
    const headers = this.#headers;
    if (!headers.find(view, this.#at, this.#end) || headers.transport !== from) return false;
    const { version, protocol, transport } = headers;
    if (this.#end - transport > MAX_PACKET) return false;
    this.#share = size;
    switch (this.#type) {
      case GSO.TCPV4:
      case GSO.TCPV6: {
        if (version !== (this.#type === GSO.TCPV4 ? 4 : 6) || protocol !== PROTOCOL.TCP)
          return false;
        if (field !== transport + TCP.CHECKSUM || transport + TCP.LENGTH > this.#end) return false;
        const length = (view.getUint8(transport + TCP.DATA_OFFSET) >> 4) * 4;
        if (length < TCP.LENGTH) return false;
        this.#payload = transport + length;
        break;
      }
      case GSO.UDP_L4:
        if (protocol !== PROTOCOL.UDP || field !== transport + UDP.CHECKSUM) return false;
        this.#payload = transport + UDP.LENGTH;
        break;
      case GSO.UDP:
        if (protocol !== PROTOCOL.UDP || field !== transport + UDP.CHECKSUM) return false;
        // Fragments begin at multiples of eight bytes (RFC 791); the UDP header is in the first.
        this.#payload = transport;
        this.#share = size & ~7;
        this.#completeChecksum(from, field);
        break;
      default:
        return false;
    }
    if (this.#share === 0 || this.#payload > this.#end) return false;
    if (this.#payload - this.#at > MAX_HEADERS_LENGTH) return false;
    this.segments = Math.max(1, Math.ceil((this.#end - this.#payload) / this.#share));
    return this.segments <= MAX_FRAME_SEGMENTS;
  }

  /** @param identification - what is added to the IPv4 identification */
  #shortenIp(
    index: number,
    target: DataView,
    to: number,
    length: number,
    identification: number,
  ): void {
    const { version, ip, transport } = this.#headers;
    const at = to + ip - this.#at;
    const packet = length - (ip - this.#at) + this.payloadLength(index);
    if (version === 6) {
      target.setUint16(at + 4, packet - IPV6_LENGTH);
      return;
    }
    target.setUint16(at + 2, packet);
    target.setUint16(at + 4, (target.getUint16(at + 4) + identification) & 0xffff);
    this.#sumIpv4(target, at, transport - ip);
  }

  #sumIpv4(target: DataView, at: number, length: number): void {
    target.setUint16(at + 10, 0);
    target.setUint16(at + 10, checksumOf(sumBytes(target, at, at + length)), true);
  }

  #finishTcp(index: number, target: DataView, to: number, length: number): void {
    const at = to + this.#headers.transport - this.#at;
    const sequence = target.getUint32(at + TCP.SEQUENCE) + index * this.#share;
    target.setUint32(at + TCP.SEQUENCE, sequence >>> 0);
    let flags = target.getUint8(at + TCP.FLAGS);
    if (index > 0) flags &= ~TCP_FLAG.CWR;
    if (index < this.segments - 1) flags &= ~(TCP_FLAG.FIN | TCP_FLAG.PSH);
    target.setUint8(at + TCP.FLAGS, flags);
    this.#sumTransport(index, target, to, length, at + TCP.CHECKSUM);
  }

  #finishUdp(index: number, target: DataView, to: number, length: number): void {
    const at = to + this.#headers.transport - this.#at;
    target.setUint16(at + UDP.LENGTH_FIELD, UDP.LENGTH + this.payloadLength(index));
    this.#sumTransport(index, target, to, length, at + UDP.CHECKSUM);
  }

  /** The whole checksum: pseudo header, transport header, payload (RFC 9293, 3.1; RFC 8200, 8.1). */
  #sumTransport(index: number, target: DataView, to: number, length: number, field: number): void {
    const { version, ip, transport, protocol } = this.#headers;
    const at = to + transport - this.#at;
    const addresses = to + ip - this.#at + (version === 4 ? 12 : 8);
    const payload = this.payloadStart(index);
    const payloadLength = this.payloadLength(index);
    target.setUint16(field, 0);
    const sum =
      sumBytes(target, addresses, addresses + (version === 4 ? 8 : 32)) +
      sumWord(protocol) +
      sumWord(length - (transport - this.#at) + payloadLength) +
      sumBytes(target, at, to + length) +
      sumBytes(this.view, payload, payload + payloadLength);
    target.setUint16(field, transportChecksumOf(sum), true);
  }

  #fragmentIpv4(index: number, target: DataView, to: number, length: number): number {
    const { ip, transport } = this.#headers;
    const at = to + ip - this.#at;
    const more = index < this.segments - 1 ? 0x2000 : 0;
    target.setUint16(at + 6, more | ((index * this.#share) >>> 3));
    this.#shortenIp(index, target, to, length, 0);
    this.#sumIpv4(target, at, transport - ip);
    return length;
  }

  /** RFC 8200, 4.5: the fragment header comes after the extensions that every fragment has. */
  #fragmentIpv6(index: number, target: DataView, to: number, length: number): number {
    const { protocolAt, protocol } = this.#headers;
    const fragment = to + length;
    target.setUint8(to + protocolAt - this.#at, IPV6_FRAGMENT.PROTOCOL);
    target.setUint8(fragment, protocol);
    target.setUint8(fragment + 1, 0);
    target.setUint16(fragment + 2, (index * this.#share) | (index < this.segments - 1 ? 1 : 0));
    target.setUint32(fragment + 4, this.#fragmentId);
    this.#shortenIp(index, target, to, length + IPV6_FRAGMENT.LENGTH, 0);
    return length + IPV6_FRAGMENT.LENGTH;
  }
}
