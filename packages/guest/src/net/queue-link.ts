import type { EventPort } from '@rxvhost/core';
import type { DriverQueue } from '../queue/driver-queue.js';

/** A queue and the two events beside it, however they reach the device. The driver closes neither. */
export interface QueueLink {
  readonly queue: DriverQueue;
  /** Raised by the driver: there is something in the available ring. */
  readonly kick: EventPort;
  /** Raised by the device: there is something in the used ring. */
  readonly call: EventPort;
}
