/** Feature bits that do not belong to one kind of device (virtio 1.2, 6; `linux/vhost.h`). */
export const FEATURE = {
  NOTIFY_ON_EMPTY: 1n << 24n,
  /** Vhost: log every write to guest memory. */
  LOG_ALL: 1n << 26n,
  INDIRECT_DESC: 1n << 28n,
  EVENT_IDX: 1n << 29n,
  VERSION_1: 1n << 32n,
  IOMMU_PLATFORM: 1n << 33n,
  RING_PACKED: 1n << 34n,
  IN_ORDER: 1n << 35n,
  RING_RESET: 1n << 40n,
} as const;

/** What every device here offers. */
export const COMMON_FEATURES =
  FEATURE.NOTIFY_ON_EMPTY | FEATURE.INDIRECT_DESC | FEATURE.EVENT_IDX | FEATURE.VERSION_1;

/** What a device offers besides; each needs something more of the front-end: a log, an IOMMU. */
export function memoryFeatures({ iommu = false }: { readonly iommu?: boolean }): bigint {
  return FEATURE.LOG_ALL | (iommu ? FEATURE.IOMMU_PLATFORM : 0n);
}

/** Ways to use a ring that a device may offer besides; see {@link offeredRings}. */
export interface RingSwitches {
  /** RING_PACKED: packed virtqueues, of any size. */
  readonly packed?: boolean;
  /** IN_ORDER: chains are used in order, and one used entry may stand for many. */
  readonly inOrder?: boolean;
  /** RING_RESET: the driver may reset one queue while the others run. */
  readonly reset?: boolean;
}

/** The ring features to offer: each unless it is switched off (T18: nothing that is not whole). */
export function offeredRings({ packed, inOrder, reset }: RingSwitches): bigint {
  return (
    (packed === false ? 0n : FEATURE.RING_PACKED) |
    (inOrder === false ? 0n : FEATURE.IN_ORDER) |
    (reset === false ? 0n : FEATURE.RING_RESET)
  );
}
