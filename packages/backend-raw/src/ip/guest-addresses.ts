import { isLinkMessage } from './gateway.js';
import {
  buildIpv6,
  ETHER_TYPE,
  ETHERNET_LENGTH,
  frameOf,
  ICMPV6,
  parseIpv6,
  readOutgoing,
  redirectIpv4,
} from './ip-packet.js';

const HOP_LIMIT = 64;
const ARP_SENDER = ETHERNET_LENGTH + 14;

/** The guest's addresses, learned from what it sends, and the frames that go to them. */
export class GuestAddresses {
  #mac: Uint8Array = new Uint8Array(6).fill(0xff);
  #ipv4: Uint8Array | undefined;
  /** Its address on the link, and the one by which the rest of the world knows it. */
  #linkLocal: Uint8Array | undefined;
  #global: Uint8Array | undefined;

  /** @param gateway - the MAC address that frames to the guest come from */
  constructor(private readonly gateway: Uint8Array) {}

  /** Looks at the beginning of a frame that the guest sends. */
  learn(start: Uint8Array): void {
    if (start.length < ETHERNET_LENGTH) return;
    this.#mac = start.slice(6, 12);
    const type = ((start[12] as number) << 8) | (start[13] as number);
    if (type === ETHER_TYPE.ARP) {
      this.#learnIpv4(start.slice(ARP_SENDER, ARP_SENDER + 4));
      return;
    }
    const packet = readOutgoing(start, Number.POSITIVE_INFINITY);
    if (packet?.family === 4) this.#learnIpv4(packet.source);
    else if (packet?.family === 6) this.#learnIpv6(packet.source);
  }

  /**
   * The frame for a message that has come. `undefined`: it is not for guests; `'unaddressed'`: the
   * guest has no address yet that it could be for.
   */
  frame(
    family: 4 | 6,
    protocol: number,
    message: Uint8Array,
    source: string,
  ): Uint8Array | 'unaddressed' | undefined {
    if (family === 4) {
      const packet = redirectIpv4(message, this.#ipv4);
      return frameOf(this.#mac, this.gateway, ETHER_TYPE.IPV4, packet);
    }
    if (protocol === ICMPV6 && isLinkMessage(message[0] ?? 0)) return undefined;
    const from = parseIpv6(source);
    const to = isLinkLocal(from) ? this.#linkLocal : this.#global;
    if (to === undefined) return 'unaddressed';
    const packet = buildIpv6(from, to, protocol, HOP_LIMIT, message);
    return frameOf(this.#mac, this.gateway, ETHER_TYPE.IPV6, packet);
  }

  #learnIpv4(address: Uint8Array): void {
    if (address.length === 4 && address.some((byte) => byte !== 0)) this.#ipv4 = address;
  }

  #learnIpv6(address: Uint8Array): void {
    if (address.every((byte) => byte === 0)) return;
    if (isLinkLocal(address)) this.#linkLocal = address;
    else this.#global = address;
  }
}

function isLinkLocal(address: Uint8Array): boolean {
  return address[0] === 0xfe && ((address[1] as number) & 0xc0) === 0x80;
}
