import type { Observable } from 'rxjs';
import { IotlbRequests } from '../iotlb-requests.js';
import type { VhostDevice } from '../vhost-device.js';
import {
  BACKEND_FEATURE_IOTLB_MSG_V2,
  type IotlbChannel,
  versionByFeatures,
} from './iotlb-channel.js';
import type { RequestInterface } from './request-interface.js';

/**
 * The device as a C program has it behind its device file (seed A14): `ioctl` for requests, `read`,
 * `write` and `poll` for the messages of the IOTLB. All of it ends in the typed methods.
 */
export abstract class RawInterface extends IotlbRequests {
  /** Serves {@link ioctl}, with the requests of this kind of device. */
  protected abstract readonly requests: Pick<RequestInterface<VhostDevice>, 'ioctl'>;
  protected abstract readonly iotlbChannel: IotlbChannel;

  /**
   * A request.
   *
   * @param request - a number of `linux/vhost.h`, for example `VHOST_REQUESTS.SET_OWNER.code`
   * @param argument - the structure that the request's pointer leads to, in the machine's byte order;
   * a reply is written there. fds in it stay the caller's; addresses are those of
   * `VhostDevice.userMemory`
   * @returns 0 or a negative errno, once the device has done it; never rejects. As a driver's own
   * function, it answers −`ENOIOCTLCMD` to a request that it does not know: the system call makes
   * `ENOTTY` of that
   */
  ioctl(request: number, argument?: Uint8Array): Promise<number> {
    return this.requests.ioctl(request, argument);
  }

  /** As {@link ioctl} for a 32-bit caller: the structures have the same layout for both. */
  compatIoctl(request: number, argument?: Uint8Array): Promise<number> {
    return this.ioctl(request, argument);
  }

  /**
   * Takes one `struct vhost_msg`, version 1 or 2: an update or an invalidation of the IOTLB, which is
   * in effect when this returns.
   * @returns 72, or a negative errno: −`EINVAL` for an unknown version, too few bytes, an update of
   * none; −`EFAULT` for whatever else is wrong
   */
  write(message: Uint8Array): number {
    return this.iotlbChannel.write(message);
  }

  /** As {@link write} for a 32-bit caller: version 1 has 68 bytes on i386. */
  compatWrite(message: Uint8Array): number {
    return this.iotlbChannel.write(message, true);
  }

  /**
   * Reads one miss as a `struct vhost_msg`: of each queue the last one.
   * @returns 72; 0 when `target` is shorter; −`EAGAIN` when there is nothing to read
   */
  read(target: Uint8Array): number {
    return this.iotlbChannel.read(target);
  }

  /** As {@link read} for a 32-bit caller: version 1 has 68 bytes on i386. */
  compatRead(target: Uint8Array): number {
    return this.iotlbChannel.read(target, true);
  }

  /** The events that `poll` answers: `POLL_READABLE` while there is a miss to read, else 0. */
  poll(): number {
    return this.iotlbChannel.poll();
  }

  /** Emits when there is a miss to read; at once if there is already. */
  get readable$(): Observable<void> {
    return this.iotlbChannel.readable$;
  }

  /** What SET_BACKEND_FEATURES takes. */
  get offeredBackendFeatures(): bigint {
    return BACKEND_FEATURE_IOTLB_MSG_V2;
  }

  /** `EOPNOTSUPP` for a bit that is not offered. They are forgotten when the device is reset. */
  setBackendFeatures(features: bigint): void {
    this.checkOwner();
    this.iotlbChannel.version = versionByFeatures(features);
  }
}
