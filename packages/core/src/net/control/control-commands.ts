/**
 * The control queue (virtio 1.2, 5.1.6.5): the driver sends one command at a time, a chain of
 * readable bytes `class u8, command u8, data` and then a writable byte, into which the device puts
 * whether it did it. Which commands there are depends on the negotiated features.
 */

/** What the device answers. */
export const CONTROL_ACK = { OK: 0, ERROR: 1 } as const;

/** Classes of commands. */
export const CONTROL_CLASS = {
  RX: 0,
  MAC: 1,
  VLAN: 2,
  ANNOUNCE: 3,
  MQ: 4,
  GUEST_OFFLOADS: 5,
} as const;

/** Class RX: one byte of data, 0 or 1. */
export const RX_COMMAND = {
  PROMISCUOUS: 0,
  ALL_MULTICAST: 1,
  ALL_UNICAST: 2,
  NO_MULTICAST: 3,
  NO_UNICAST: 4,
  NO_BROADCAST: 5,
} as const;

/** Class MAC: two lists of addresses, each a count (u32) and 6 bytes for each; one address. */
export const MAC_COMMAND = { TABLE_SET: 0, ADDRESS_SET: 1 } as const;

/** Class VLAN: an identifier (u16). */
export const VLAN_COMMAND = { ADD: 0, DELETE: 1 } as const;

/** Class ANNOUNCE: no data. */
export const ANNOUNCE_COMMAND = { ACKNOWLEDGE: 0 } as const;

/** Class MQ: pairs (u16); see `rss-commands.ts` for the others. */
export const MQ_COMMAND = { PAIRS_SET: 0, RSS_CONFIG: 1, HASH_CONFIG: 2 } as const;

/** Class GUEST_OFFLOADS: the offloads to be used from now on, as feature bits (u64). */
export const GUEST_OFFLOADS_COMMAND = { SET: 0 } as const;
