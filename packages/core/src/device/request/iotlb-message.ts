import { VhostError } from '../../errors/vhost-error.js';
import { struct, toAddress, u8, u64 } from '../../layout/struct-layout.js';
import type { IotlbAccess } from '../../memory/iotlb.js';
import type { VirtioDevice } from '../virtio-device.js';

/**
 * `struct vhost_iotlb_msg` of `linux/vhost.h`, which vhost-user has taken over as it is: the device
 * tells a miss, whoever drives it tells updates and invalidations.
 */
export const IOTLB_MESSAGE = struct('vhost_iotlb_msg', {
  address: u64,
  size: u64,
  userAddress: u64,
  access: u8,
  type: u8,
});
export type IotlbMessage = ReturnType<typeof IOTLB_MESSAGE.decode>;

/** What an IOTLB message says. */
export const IOTLB_TYPE = { MISS: 1, UPDATE: 2, INVALIDATE: 3, ACCESS_FAIL: 4 } as const;

/** The message that asks for a translation; one byte will do. */
export function missMessage({
  address,
  access,
}: {
  address: number;
  access: number;
}): IotlbMessage {
  return { address: BigInt(address), size: 1n, userAddress: 0n, access, type: IOTLB_TYPE.MISS };
}

/**
 * Tells the device what an update or an invalidation says. Throws what the device throws, `EINVAL`
 * for any other message and for an access that is none, `EOVERFLOW` for addresses that no number
 * holds, `EOPNOTSUPP` where the device knows no IOMMU.
 */
export function applyIotlbMessage(device: VirtioDevice, message: IotlbMessage): void {
  if (device.updateIotlb === undefined || device.invalidateIotlb === undefined) {
    throw new VhostError('EOPNOTSUPP', 'IOTLB: this device knows no IOMMU');
  }
  const { address, size, userAddress, access, type } = message;
  switch (type) {
    case IOTLB_TYPE.UPDATE:
      device.updateIotlb({
        address: toAddress(address),
        size: toAddress(size),
        userAddress: toAddress(userAddress),
        access: toAccess(access),
      });
      return;
    case IOTLB_TYPE.INVALIDATE:
      // Beyond 2^53 there is nothing, so that it does not matter where exactly.
      device.invalidateIotlb(Number(address), Number(size));
      return;
    default:
      throw new VhostError('EINVAL', `IOTLB: a message of type ${type}`);
  }
}

function toAccess(bits: number): IotlbAccess {
  if (bits === 1 || bits === 2 || bits === 3) return bits;
  throw new VhostError('EINVAL', `IOTLB: access ${bits}`);
}
