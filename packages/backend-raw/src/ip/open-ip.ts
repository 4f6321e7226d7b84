import { VhostError } from '@rxvhost/core';
import { type IpProtocolChoice, IpSocket } from './ip-socket.js';
import { loadRawLibrary } from './raw-library.js';

/** IP protocols by the names that people use for them. */
export const IP_PROTOCOLS = {
  icmp: 1,
  igmp: 2,
  tcp: 6,
  udp: 17,
  gre: 47,
  esp: 50,
  ah: 51,
  icmpv6: 58,
  ospf: 89,
  sctp: 132,
} as const;

/** A protocol's name. */
export type IpProtocolName = keyof typeof IP_PROTOCOLS;

/** Which protocols, and what the guest's gateway is called. */
export interface IpOptions {
  /** Names, or numbers 1 … 254; at least one. ICMP is IPv4's, ICMPv6 is IPv6's, others are of both. */
  readonly protocols: readonly (IpProtocolName | number)[];
  /** MAC address of the gateway, 6 bytes, not multicast. */
  readonly gateway?: Uint8Array;
}

const GATEWAY = Uint8Array.of(0x52, 0x55, 0x0a, 0, 2, 2);
const LARGEST_PROTOCOL = 254;

/**
 * Opens raw IP sockets for some protocols, by the `raw-socket` library, on the main thread. Its guest
 * sees one gateway, whatever address it asks for.
 *
 * Throws `EINVAL` for no protocol or a number that is none, `EPERM` without CAP_NET_RAW, `ENOSYS`
 * without the library, `EOPNOTSUPP` in a worker thread.
 */
export function openIp({ protocols, gateway = GATEWAY }: IpOptions): IpSocket {
  const choices = protocols.flatMap(choicesOf);
  if (choices.length === 0) throw new VhostError('EINVAL', 'an IP socket needs a protocol');
  if (gateway.length !== 6 || ((gateway[0] as number) & 1) !== 0) {
    throw new VhostError('EINVAL', 'the gateway needs a MAC address of 6 bytes, not multicast');
  }
  return new IpSocket(loadRawLibrary(), choices, gateway);
}

function choicesOf(named: IpProtocolName | number): IpProtocolChoice[] {
  const protocol = typeof named === 'number' ? named : IP_PROTOCOLS[named];
  if (!Number.isInteger(protocol) || protocol < 1 || protocol > LARGEST_PROTOCOL) {
    throw new VhostError('EINVAL', `${named} is no IP protocol`);
  }
  const families = [4, 6] as const;
  const only =
    protocol === IP_PROTOCOLS.icmp ? 4 : protocol === IP_PROTOCOLS.icmpv6 ? 6 : undefined;
  return families
    .filter((family) => only === undefined || only === family)
    .map((family) => ({ family, protocol }));
}
