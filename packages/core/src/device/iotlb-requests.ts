import type { Observable } from 'rxjs';
import type { VhostError } from '../errors/vhost-error.js';
import type { IotlbRange } from '../memory/iotlb.js';
import type { DeviceIotlb, QueueMiss } from './device-iotlb.js';
import { VringRequests } from './vring-requests.js';

/** The requests that concern the device's IOTLB (seed B10), for a device to inherit. */
export abstract class IotlbRequests extends VringRequests {
  protected abstract readonly iotlb: DeviceIotlb;

  /** Throws `EPERM` unless the device has an owner (A1). */
  abstract checkOwner(): void;
  /** Reports a fault of queue `index`. */
  protected abstract fail(index: number, error: VhostError): void;

  /** Emits each address that a queue stands still for; see `VirtioDevice.iotlbMisses$`. */
  get iotlbMisses$(): Observable<QueueMiss> {
    return this.iotlb.misses$;
  }

  updateIotlb(range: IotlbRange): void {
    this.checkOwner();
    this.iotlb.update(range);
  }

  invalidateIotlb(address: number, size: number): void {
    this.checkOwner();
    this.iotlb.invalidate(address, size);
  }

  refuseIotlbMiss(miss: QueueMiss, error: VhostError): void {
    if (this.iotlb.giveUp(miss)) this.fail(miss.queue, error);
  }
}
