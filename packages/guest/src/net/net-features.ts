/** Feature bits that this driver knows (virtio 1.2, 5.1.3 and 6), as masks. */
export const NetFeature = {
  MAC: 1n << 5n,
  MRG_RXBUF: 1n << 15n,
  STATUS: 1n << 16n,
  INDIRECT_DESC: 1n << 28n,
  EVENT_IDX: 1n << 29n,
  VERSION_1: 1n << 32n,
} as const;

/** What the driver can do: a front-end accepts these bits out of those the device offers. */
export const DRIVER_FEATURES =
  NetFeature.MAC |
  NetFeature.MRG_RXBUF |
  NetFeature.INDIRECT_DESC |
  NetFeature.EVENT_IDX |
  NetFeature.VERSION_1;

/** Bytes of the header before each frame: 12 with VERSION_1 or MRG_RXBUF, else 10 (virtio 1.2, 5.1.6.1). */
export function netHeaderLength(features: bigint): 10 | 12 {
  return (features & (NetFeature.VERSION_1 | NetFeature.MRG_RXBUF)) === 0n ? 10 : 12;
}
