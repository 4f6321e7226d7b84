import type { VhostError } from '../errors/vhost-error.js';

/** Something that went wrong on a queue through no fault of the caller: the guest's or a backend's. */
export interface QueueFault {
  /** Virtqueue index. */
  readonly queue: number;
  readonly error: VhostError;
}

/** A kick that reached a queue, or several at once. */
export interface Kick {
  /** Virtqueue index. */
  readonly queue: number;
  /** How many kicks this stands for. */
  readonly count: number;
}
