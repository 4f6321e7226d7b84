/** Feature bits that this driver knows (virtio 1.2, 5.1.3 and 6), as masks. */
export const NetFeature = {
  CSUM: 1n << 0n,
  GUEST_CSUM: 1n << 1n,
  CTRL_GUEST_OFFLOADS: 1n << 2n,
  MTU: 1n << 3n,
  MAC: 1n << 5n,
  GUEST_TSO4: 1n << 7n,
  GUEST_TSO6: 1n << 8n,
  GUEST_ECN: 1n << 9n,
  GUEST_UFO: 1n << 10n,
  HOST_TSO4: 1n << 11n,
  HOST_TSO6: 1n << 12n,
  HOST_ECN: 1n << 13n,
  HOST_UFO: 1n << 14n,
  MRG_RXBUF: 1n << 15n,
  STATUS: 1n << 16n,
  CTRL_VQ: 1n << 17n,
  CTRL_RX: 1n << 18n,
  CTRL_VLAN: 1n << 19n,
  CTRL_RX_EXTRA: 1n << 20n,
  GUEST_ANNOUNCE: 1n << 21n,
  MQ: 1n << 22n,
  CTRL_MAC_ADDR: 1n << 23n,
  INDIRECT_DESC: 1n << 28n,
  EVENT_IDX: 1n << 29n,
  VERSION_1: 1n << 32n,
  RING_PACKED: 1n << 34n,
  IN_ORDER: 1n << 35n,
  GUEST_USO4: 1n << 54n,
  GUEST_USO6: 1n << 55n,
  HOST_USO: 1n << 56n,
  HASH_REPORT: 1n << 57n,
  RSS: 1n << 60n,
} as const;

/** What the driver can do: a front-end accepts these bits out of those the device offers. */
export const DRIVER_FEATURES =
  NetFeature.MAC |
  NetFeature.MRG_RXBUF |
  NetFeature.INDIRECT_DESC |
  NetFeature.EVENT_IDX |
  NetFeature.VERSION_1;

/** Ring layouts that a front-end may accept besides: the driver's queues follow them. */
export const DRIVER_RINGS = NetFeature.RING_PACKED | NetFeature.IN_ORDER;

/**
 * Offloads that a front-end may accept besides: the driver passes on the headers that it is given and
 * hands out those that it gets, and does none of the work itself. With `GUEST_TSO…`, `GUEST_UFO` or
 * `GUEST_USO…` its receive buffers hold a large segment, unless they are mergeable.
 */
export const DRIVER_OFFLOADS =
  NetFeature.CSUM |
  NetFeature.HOST_TSO4 |
  NetFeature.HOST_TSO6 |
  NetFeature.HOST_ECN |
  NetFeature.HOST_UFO |
  NetFeature.HOST_USO |
  NetFeature.GUEST_CSUM |
  NetFeature.GUEST_TSO4 |
  NetFeature.GUEST_TSO6 |
  NetFeature.GUEST_ECN |
  NetFeature.GUEST_UFO |
  NetFeature.GUEST_USO4 |
  NetFeature.GUEST_USO6;

/** What a front-end may accept besides for a NIC whose driver has a control queue. */
export const DRIVER_CONTROL =
  NetFeature.CTRL_VQ |
  NetFeature.CTRL_RX |
  NetFeature.CTRL_RX_EXTRA |
  NetFeature.CTRL_VLAN |
  NetFeature.CTRL_MAC_ADDR |
  NetFeature.CTRL_GUEST_OFFLOADS |
  NetFeature.GUEST_ANNOUNCE |
  NetFeature.MQ |
  NetFeature.HASH_REPORT |
  NetFeature.RSS;

const MANY_QUEUES = NetFeature.MQ | NetFeature.RSS;

/** The control queue's index among `2 * pairs` others (virtio 1.2, 5.1.2); undefined without one. */
export function controlQueueIndex(features: bigint, pairs: number): number | undefined {
  if ((features & NetFeature.CTRL_VQ) === 0n) return undefined;
  return (features & MANY_QUEUES) === 0n ? 2 : 2 * pairs;
}

const LARGE_RECEIVE =
  NetFeature.GUEST_TSO4 |
  NetFeature.GUEST_TSO6 |
  NetFeature.GUEST_UFO |
  NetFeature.GUEST_USO4 |
  NetFeature.GUEST_USO6;
/** A 64 KiB packet behind an Ethernet header (virtio 1.2, 5.1.6.3.1). */
const LARGEST_FRAME = 65550;
const SMALL_FRAME = 1514;

/** Bytes of the longest frame that one receive buffer must hold with these features. */
export function receiveFrameLength(features: bigint): number {
  const large = (features & LARGE_RECEIVE) !== 0n && (features & NetFeature.MRG_RXBUF) === 0n;
  return large ? LARGEST_FRAME : SMALL_FRAME;
}

/** Bytes of the header before each frame: 20 with HASH_REPORT, else 12 with VERSION_1 or MRG_RXBUF, else 10 (virtio 1.2, 5.1.6.1). */
export function netHeaderLength(features: bigint): 10 | 12 | 20 {
  if ((features & NetFeature.HASH_REPORT) !== 0n) return 20;
  return (features & (NetFeature.VERSION_1 | NetFeature.MRG_RXBUF)) === 0n ? 10 : 12;
}
