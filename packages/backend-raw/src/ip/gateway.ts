/**
 * What a guest on an IP socket sees of its network: one gateway, which says of every address that it
 * is there. IPv4 asks by ARP (RFC 826), IPv6 by neighbour solicitations, and for routers by router
 * solicitations (RFC 4861). None of that leaves: the host's own stack does it on the real wire.
 */
import {
  buildIpv6,
  ETHER_TYPE,
  ETHERNET_LENGTH,
  frameOf,
  ICMPV6,
  IPV6_LENGTH,
  internetChecksum,
} from './ip-packet.js';

/** Hardware type Ethernet, protocol IPv4, address lengths 6 and 4, operation request. */
const ARP_REQUEST = [0, 1, 8, 0, 6, 4, 0, 1];
const ARP_REPLY = [0, 1, 8, 0, 6, 4, 0, 2];
const ARP_LENGTH = 28;

const ICMP_AT = ETHERNET_LENGTH + IPV6_LENGTH;
const TYPE = {
  LISTENER_QUERY: 130,
  LISTENER_DONE: 132,
  ROUTER_SOLICITATION: 133,
  ROUTER_ADVERTISEMENT: 134,
  NEIGHBOUR_SOLICITATION: 135,
  NEIGHBOUR_ADVERTISEMENT: 136,
  REDIRECT: 137,
  LISTENER_REPORT: 143,
} as const;
const SOURCE_ADDRESS_OPTION = [1, 1];
const TARGET_ADDRESS_OPTION = [2, 1];
/** Router, solicited, override. */
const NEIGHBOUR_FLAGS = [0xe0, 0, 0, 0];
/** Hop limit 64, no flags, a router for 1800 seconds, no times. */
const ROUTER = [64, 0, 1800 >> 8, 1800 & 0xff, 0, 0, 0, 0, 0, 0, 0, 0];
const ONLY_THIS_LINK = 255;
const ALL_NODES = Uint8Array.of(0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1);
const UNSPECIFIED = new Uint8Array(16);

/** Whether an ICMPv6 message is about one link only, and no business of anybody beyond it. */
export function isLinkMessage(type: number): boolean {
  const listener = type >= TYPE.LISTENER_QUERY && type <= TYPE.LISTENER_DONE;
  const neighbour = type >= TYPE.ROUTER_SOLICITATION && type <= TYPE.REDIRECT;
  return listener || neighbour || type === TYPE.LISTENER_REPORT;
}

/** Answers for everybody that the guest asks for. */
export class Gateway {
  /** @param mac - 6 bytes, whose frames it sends */
  constructor(readonly mac: Uint8Array) {}

  /**
   * Takes a frame of the guest's.
   * @returns the answer, `undefined` when there is none to give, `false` for a frame that is not about
   * the link and should go on
   */
  answer(frame: Uint8Array): Uint8Array | undefined | false {
    if (frame.length < ETHERNET_LENGTH) return false;
    const type = ((frame[12] as number) << 8) | (frame[13] as number);
    if (type === ETHER_TYPE.ARP) return this.#answerArp(frame);
    const isIcmp = type === ETHER_TYPE.IPV6 && frame[ETHERNET_LENGTH + 6] === ICMPV6;
    if (!isIcmp || frame.length <= ICMP_AT || !isLinkMessage(frame[ICMP_AT] as number))
      return false;
    return this.#answerIcmp(frame);
  }

  #answerArp(frame: Uint8Array): Uint8Array | undefined {
    const arp = frame.subarray(ETHERNET_LENGTH, ETHERNET_LENGTH + ARP_LENGTH);
    if (arp.length < ARP_LENGTH || !startsWith(arp, ARP_REQUEST)) return undefined;
    const [senderMac, sender, target] = [
      arp.subarray(8, 14),
      arp.subarray(14, 18),
      arp.subarray(24),
    ];
    // A probe whether an address is free, and an announcement of one's own, want no answer.
    if (sender.every((byte) => byte === 0) || startsWith(sender, target)) return undefined;
    const reply = Uint8Array.of(...ARP_REPLY, ...this.mac, ...target, ...senderMac, ...sender);
    return frameOf(frame.subarray(6, 12), this.mac, ETHER_TYPE.ARP, reply);
  }

  #answerIcmp(frame: Uint8Array): Uint8Array | undefined {
    const guest = frame.subarray(22, 38);
    const target = frame.subarray(ICMP_AT + 8, ICMP_AT + 24);
    const isProbe = startsWith(guest, UNSPECIFIED);
    switch (frame[ICMP_AT]) {
      case TYPE.NEIGHBOUR_SOLICITATION: {
        if (target.length < 16 || isProbe || startsWith(guest, target)) return undefined;
        const option = [...TARGET_ADDRESS_OPTION, ...this.mac];
        const body = [...NEIGHBOUR_FLAGS, ...target, ...option];
        return this.#icmpFrame(frame, target, guest, TYPE.NEIGHBOUR_ADVERTISEMENT, body);
      }
      case TYPE.ROUTER_SOLICITATION: {
        const body = [...ROUTER, ...SOURCE_ADDRESS_OPTION, ...this.mac];
        const to = isProbe ? ALL_NODES : guest;
        return this.#icmpFrame(frame, this.#linkLocal(), to, TYPE.ROUTER_ADVERTISEMENT, body);
      }
      default:
        return undefined;
    }
  }

  #icmpFrame(
    request: Uint8Array,
    source: Uint8Array,
    destination: Uint8Array,
    type: number,
    body: readonly number[],
  ): Uint8Array {
    const message = Uint8Array.of(type, 0, 0, 0, ...body);
    const pseudo = Uint8Array.of(...source, ...destination, 0, message.length, 0, ICMPV6);
    const sum = ~internetChecksum(pseudo) & 0xffff;
    const checksum = internetChecksum(message, sum);
    message.set([checksum >> 8, checksum & 0xff], 2);
    const packet = buildIpv6(source, destination, ICMPV6, ONLY_THIS_LINK, message);
    return frameOf(request.subarray(6, 12), this.mac, ETHER_TYPE.IPV6, packet);
  }

  /** The address that follows from the MAC address (RFC 4291, appendix A). */
  #linkLocal(): Uint8Array {
    const [first = 0, ...rest] = this.mac;
    const identifier = [first ^ 2, ...rest.slice(0, 2), 0xff, 0xfe, ...rest.slice(2)];
    return Uint8Array.of(0xfe, 0x80, 0, 0, 0, 0, 0, 0, ...identifier);
  }
}

function startsWith(bytes: Uint8Array, beginning: ArrayLike<number>): boolean {
  for (let at = 0; at < beginning.length; at += 1) {
    if (bytes[at] !== beginning[at]) return false;
  }
  return true;
}
