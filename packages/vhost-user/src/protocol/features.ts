/** Bit 30 of the virtio features: the back-end speaks protocol features. Never seen by the guest. */
export const VHOST_USER_F_PROTOCOL_FEATURES = 1n << 30n;
/**
 * Bit 27 of the virtio features is ANY_LAYOUT to a guest, but "the device supplies the header" to
 * the kernel's vhost and so to our devices. A VMM passes on what the guest says, so over vhost-user
 * the bit is neither offered nor taken.
 */
export const VHOST_NET_F_VIRTIO_NET_HDR = 1n << 27n;
/** Bit 26 of the virtio features: the back-end logs its writes to guest memory. */
export const VHOST_F_LOG_ALL = 1n << 26n;

/**
 * Protocol features by bit number. 21 and 22 are easily mixed up: early drafts gave SHMEM the
 * number that GPA_ADDRESSES has now (hazard T14).
 */
export const PROTOCOL_FEATURE_BIT = {
  MQ: 0,
  LOG_SHMFD: 1,
  RARP: 2,
  REPLY_ACK: 3,
  MTU: 4,
  BACKEND_REQ: 5,
  CROSS_ENDIAN: 6,
  CRYPTO_SESSION: 7,
  PAGEFAULT: 8,
  CONFIG: 9,
  BACKEND_SEND_FD: 10,
  HOST_NOTIFIER: 11,
  INFLIGHT_SHMFD: 12,
  RESET_DEVICE: 13,
  INBAND_NOTIFICATIONS: 14,
  CONFIGURE_MEM_SLOTS: 15,
  STATUS: 16,
  XEN_MMAP: 17,
  SHARED_OBJECT: 18,
  DEVICE_STATE: 19,
  GET_VRING_BASE_INFLIGHT: 20,
  GPA_ADDRESSES: 21,
  SHMEM: 22,
} as const;

/** A protocol feature's name. */
export type ProtocolFeature = keyof typeof PROTOCOL_FEATURE_BIT;

/** The bit mask of some protocol features. */
export function protocolFeatures(...names: readonly ProtocolFeature[]): bigint {
  return names.reduce((mask, name) => mask | (1n << BigInt(PROTOCOL_FEATURE_BIT[name])), 0n);
}

/** Whether `mask` has this protocol feature. */
export function hasFeature(mask: bigint, name: ProtocolFeature): boolean {
  return (mask & protocolFeatures(name)) !== 0n;
}

/** The names of the protocol features in `mask`; a bit without a name reads `bit 40`. */
export function protocolFeatureNames(mask: bigint): string[] {
  const names = new Map<number, string>(
    Object.entries(PROTOCOL_FEATURE_BIT).map(([name, bit]) => [bit, name]),
  );
  const found: string[] = [];
  for (let bit = 0; mask >> BigInt(bit) > 0n; bit += 1) {
    if ((mask >> BigInt(bit)) & 1n) found.push(names.get(bit) ?? `bit ${bit}`);
  }
  return found;
}
