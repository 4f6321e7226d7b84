import type { VhostError } from '../errors/vhost-error.js';
import type { Vring } from './vring.js';

/** What a vring tells its device. */
export interface VringListener {
  /** The driver has kicked, `count` times since the last one. */
  kicked(vring: Vring, count: number): void;
  /** The rings of an attached queue cannot be reached (behind an IOMMU, B10). */
  failed(vring: Vring, error: VhostError): void;
}

/** Notifications of one vring since the device was made. */
export interface VringCounters {
  kicks: number;
  calls: number;
  /** Calls that the driver did not want. */
  callsSuppressed: number;
  errors: number;
}
