import type { QueueLink } from '@rxvhost/guest';

/** A vsock device as a driver finds it, however it is reached: negotiated features, queues, config, reset. */
export interface GuestDevice {
  /** Feature bits that both sides have agreed to. */
  readonly features: bigint;
  /** The device's three queues (virtio 1.2, 5.10.2). */
  readonly receive: QueueLink;
  readonly transmit: QueueLink;
  readonly event: QueueLink;
  /** Bytes of the device's configuration space. */
  readConfig(offset: number, length: number): Uint8Array | Promise<Uint8Array>;
  /** Resets the device: when this is done it touches the queues and their buffers no more. */
  reset(): void | Promise<void>;
}

/** Where `guest_cid` lies in the configuration space (virtio 1.2, 5.10.4). */
const GUEST_CID_OFFSET = 0;
const GUEST_CID_BYTES = 8;

/** The guest's own address: 64 bits little-endian, the upper half of which is zero (seed D1). */
export async function readGuestCid(device: GuestDevice): Promise<number> {
  const bytes = await device.readConfig(GUEST_CID_OFFSET, GUEST_CID_BYTES);
  return Number(new DataView(bytes.buffer, bytes.byteOffset, bytes.length).getBigUint64(0, true));
}
