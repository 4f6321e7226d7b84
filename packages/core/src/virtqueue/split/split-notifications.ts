import type { RingFeatures } from '../virtqueue.js';
import { AVAILABLE_NO_INTERRUPT, USED_NO_NOTIFY } from './split-layout.js';
import type { SplitRing } from './split-ring.js';
import type { UsedRingLog } from './used-ring-log.js';

const INDEX_MASK = 0xffff;

/** Who of driver and device wants to hear of news: the flags and events of a split ring (B6, B7). */
export class SplitNotifications {
  #calledUsed = 0;
  #calledUsedValid = false;

  constructor(private readonly features: RingFeatures) {}

  /** Whether the driver wants a call for what was published up to the used index `used`. */
  takeCallWanted({ available, availableFlags, usedEvent }: SplitRing, used: number): boolean {
    const before = this.#calledUsed;
    const beforeValid = this.#calledUsedValid;
    this.#calledUsed = used;
    this.#calledUsedValid = true;
    if (!this.features.eventIndex) {
      return (Atomics.load(available, availableFlags) & AVAILABLE_NO_INTERRUPT) === 0;
    }
    if (!beforeValid) return true;
    const event = Atomics.load(available, usedEvent);
    return ((used - event - 1) & INDEX_MASK) < ((used - before) & INDEX_MASK);
  }

  disable({ used, usedFlags }: SplitRing, log: UsedRingLog | undefined): void {
    // With EVENT_IDX the flag stays 0: an avail_event that is not moved on suppresses by itself.
    if (this.features.eventIndex) return;
    if (used[usedFlags] === USED_NO_NOTIFY) return;
    used[usedFlags] = USED_NO_NOTIFY;
    log?.flags();
  }

  /** The store is a full barrier: the driver sees the wish before we look at the index (B7). */
  enableAt(ring: SplitRing, next: number, log: UsedRingLog | undefined): void {
    if (this.features.eventIndex) {
      Atomics.store(ring.used, ring.availableEvent, next);
      log?.availableEvent();
    } else {
      Atomics.store(ring.used, ring.usedFlags, 0);
      log?.flags();
    }
  }
}
