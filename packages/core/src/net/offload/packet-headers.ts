/** Finds the IP and the transport header of a frame that is to be segmented. */

export const PROTOCOL = { TCP: 6, UDP: 17 } as const;

const ETHERTYPE = { IPV4: 0x0800, VLAN: 0x8100, SERVICE_VLAN: 0x88a8, IPV6: 0x86dd } as const;
const ETHERTYPE_AT = 12;
const ETHERNET_LENGTH = 14;
const VLAN_LENGTH = 4;
/** Tags before the IP header: one of a customer's and one of a provider's. */
const MAX_VLAN_TAGS = 2;
const IPV4_LENGTH = 20;
/** Length of an IPv6 header without its extensions. */
export const IPV6_LENGTH = 40;
/** Hop-by-hop and destination options: extensions that stand before a transport header and leave addresses alone. */
const IPV6_OPTIONS: readonly number[] = [0, 60];
/** Besides these, the routing header, behind which the destination is another one. */
export const IPV6_EXTENSIONS: readonly number[] = [...IPV6_OPTIONS, 43];
const MAX_EXTENSIONS = 8;

/** Where a frame's headers lie, in bytes from the view's beginning. One object, used again and again. */
export class PacketHeaders {
  version: 4 | 6 = 4;
  /** The IP header's first byte. */
  ip = 0;
  /** The transport header's first byte. */
  transport = 0;
  /** IP protocol number of what begins at `transport`. */
  protocol = 0;
  /** The byte that holds `protocol`: in the IP header, or in the last extension. */
  protocolAt = 0;
  /** Why `find` said no to an IPv4 packet that is whole but for this. */
  fragment = false;

  /** @param extensions - IPv6 extension headers to look behind, by number */
  constructor(private readonly extensions = IPV6_OPTIONS) {}

  /**
   * Reads the frame at `at … end - 1`. False when it is no whole IP packet, or a fragment, or has
   * extensions that are not taken.
   */
  find(view: DataView, at: number, end: number): boolean {
    let type = at + ETHERTYPE_AT;
    this.fragment = false;
    for (let tags = 0; type + 2 <= end; tags += 1) {
      const etherType = view.getUint16(type);
      this.ip = type + 2;
      switch (etherType) {
        case ETHERTYPE.VLAN:
        case ETHERTYPE.SERVICE_VLAN:
          if (tags === MAX_VLAN_TAGS) return false;
          type += VLAN_LENGTH;
          break;
        case ETHERTYPE.IPV4:
          return this.#findInIpv4(view, end);
        case ETHERTYPE.IPV6:
          return this.#findInIpv6(view, end);
        default:
          return false;
      }
    }
    return false;
  }

  #findInIpv4(view: DataView, end: number): boolean {
    const { ip } = this;
    if (ip + IPV4_LENGTH > end) return false;
    const first = view.getUint8(ip);
    const length = (first & 0x0f) * 4;
    if (first >> 4 !== 4 || length < IPV4_LENGTH || ip + length > end) return false;
    this.version = 4;
    this.fragment = (view.getUint16(ip + 6) & 0x3fff) !== 0;
    if (this.fragment) return false;
    this.transport = ip + length;
    this.protocolAt = ip + 9;
    this.protocol = view.getUint8(this.protocolAt);
    return true;
  }

  #findInIpv6(view: DataView, end: number): boolean {
    const { ip } = this;
    if (ip + IPV6_LENGTH > end || view.getUint8(ip) >> 4 !== 6) return false;
    this.version = 6;
    this.transport = ip + IPV6_LENGTH;
    this.protocolAt = ip + 6;
    this.protocol = view.getUint8(this.protocolAt);
    for (let extensions = 0; this.extensions.includes(this.protocol); extensions += 1) {
      if (extensions === MAX_EXTENSIONS || this.transport + 8 > end) return false;
      const length = (view.getUint8(this.transport + 1) + 1) * 8;
      this.protocolAt = this.transport;
      this.protocol = view.getUint8(this.protocolAt);
      this.transport += length;
      if (this.transport > end) return false;
    }
    return true;
  }
}

/** The longest headers of a frame that are taken: Ethernet, two tags, IP with options, TCP with options. */
export const MAX_HEADERS_LENGTH = ETHERNET_LENGTH + MAX_VLAN_TAGS * VLAN_LENGTH + 60 + 64 + 60;
