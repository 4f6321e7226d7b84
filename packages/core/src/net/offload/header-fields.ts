/** What the first two bytes of a virtio-net header may say (virtio 1.2, 5.1.6). */

/** `flags`. */
export const HEADER_FLAG = {
  /** The checksum at `csum_start + csum_offset` is still to be completed. */
  NEEDS_CSUM: 1,
  /** Whoever gives this frame has verified its checksums. */
  DATA_VALID: 2,
} as const;

/** `gso_type`: what kind of large segment the frame is. */
export const GSO = {
  NONE: 0,
  TCPV4: 1,
  /** UDP that is to leave as IP fragments (UFO). */
  UDP: 3,
  TCPV6: 4,
  /** UDP that is to leave as datagrams (USO). */
  UDP_L4: 5,
  /** Besides TCP: the segment carries an explicit congestion notification. */
  ECN: 0x80,
} as const;

/** Where the fields lie, all of them little-endian with VERSION_1. */
export const HEADER_OFFSET = {
  FLAGS: 0,
  GSO_TYPE: 1,
  GSO_SIZE: 4,
  CSUM_START: 6,
  CSUM_OFFSET: 8,
} as const;
