/** Commands of the control queue as a driver numbers them: class and command (virtio 1.2, 5.1.6.5). */
export const ControlCommand = {
  PROMISCUOUS: [0, 0],
  ALL_MULTICAST: [0, 1],
  ALL_UNICAST: [0, 2],
  NO_MULTICAST: [0, 3],
  NO_UNICAST: [0, 4],
  NO_BROADCAST: [0, 5],
  MAC_TABLE_SET: [1, 0],
  MAC_ADDRESS_SET: [1, 1],
  VLAN_ADD: [2, 0],
  VLAN_DELETE: [2, 1],
  ANNOUNCE_ACKNOWLEDGE: [3, 0],
  QUEUE_PAIRS_SET: [4, 0],
  RSS_CONFIG: [4, 1],
  HASH_CONFIG: [4, 2],
  GUEST_OFFLOADS_SET: [5, 0],
} as const satisfies Record<string, readonly [commandClass: number, command: number]>;

/** Little-endian 16-bit words as bytes. */
function words(...values: readonly number[]): number[] {
  return values.flatMap((value) => [value & 0xff, value >> 8]);
}

function doubleWord(value: number): number[] {
  return words(value & 0xffff, value >>> 16);
}

/** Data of MAC_TABLE_SET: unicast and multicast addresses of 6 bytes. */
export function macTable(
  unicast: readonly Uint8Array[],
  multicast: readonly Uint8Array[],
): Uint8Array {
  const list = (addresses: readonly Uint8Array[]) => [
    ...doubleWord(addresses.length),
    ...addresses.flatMap((address) => [...address]),
  ];
  return Uint8Array.from([...list(unicast), ...list(multicast)]);
}

/** Data of QUEUE_PAIRS_SET, VLAN_ADD and VLAN_DELETE. */
export function word(value: number): Uint8Array {
  return Uint8Array.from(words(value));
}

/** Data of GUEST_OFFLOADS_SET: feature bits. */
export function offloadBits(offloads: bigint): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, offloads, true);
  return bytes;
}

/** What a driver asks for with RSS_CONFIG. */
export interface RssRequest {
  /** Bits of hash types: IPv4 1, TCPv4 2, UDPv4 4, IPv6 8, TCPv6 16, UDPv6 32. */
  readonly types: number;
  /** Queue pair for each value of the hash's low bits; a power of two of them. */
  readonly table: readonly number[];
  /** Queue pair for what is not hashed. */
  readonly unclassified: number;
  /** Transmit queues that the driver will use. */
  readonly transmitQueues: number;
  /** Up to 40 bytes. */
  readonly key: Uint8Array;
}

/** Data of RSS_CONFIG. */
export function rssConfig(request: RssRequest): Uint8Array {
  const { types, table, unclassified, transmitQueues, key } = request;
  return Uint8Array.from([
    ...doubleWord(types),
    ...words(table.length - 1, unclassified, ...table, transmitQueues),
    key.length,
    ...key,
  ]);
}

/** Data of HASH_CONFIG. */
export function hashConfig(types: number, key: Uint8Array): Uint8Array {
  return Uint8Array.from([...doubleWord(types), ...words(0, 0, 0, 0), key.length, ...key]);
}
