import type { EventPortFactory } from '../events/event-port.js';
import type { TurnScheduler } from '../events/turn-scheduler.js';
import type { GuestMemory } from '../memory/guest-memory.js';
import type { VirtqueueFactory } from '../virtqueue/virtqueue.js';
import type { VhostDevice } from './vhost-device.js';

/** What every device is made with. */
export interface VhostDeviceOptions {
  /** Largest queue size taken, up to 32768. */
  readonly maxQueueSize?: number;
  /** Guest memory to use; one of the device's own when left out. */
  readonly memory?: GuestMemory;
  /** What the device's virtqueues are made by; split or packed as negotiated when left out. */
  readonly virtqueues?: VirtqueueFactory;
  readonly turns?: TurnScheduler;
  /**
   * Offer IOMMU_PLATFORM (seed B10), for a driver behind a virtual IOMMU; `false` unless set. Who
   * then drives the device answers its `iotlbMisses$`.
   */
  readonly iommu?: boolean;
  /**
   * Makes event ports of the eventfds that {@link VhostDevice.ioctl} is given: `openEventFd` of
   * `@rxvhost/sys`. Without it every fd there is a bad one.
   */
  readonly eventPort?: EventPortFactory;
  /** Microseconds to look at an empty ring before asking for a kick (seed C14); 0 unless set. */
  readonly busyPoll?: number;
}
