import type { RingFeatures } from '../virtqueue.js';
import {
  EVENT_DESCRIPTOR,
  EVENT_DISABLE,
  EVENT_ENABLE,
  positionOf,
  wrapOf,
} from './packed-layout.js';
import type { PackedRing } from './packed-ring.js';
import type { PackedRingLog } from './packed-ring-log.js';
import type { RingCursor } from './ring-cursor.js';

/** Who of driver and device wants to hear of news, in a packed ring's event areas (seeds B6, B7). */
export class PackedNotifications {
  /** Descriptors used since the driver was last considered for a call. */
  moved = 0;
  #considered = false;

  constructor(private readonly features: RingFeatures) {}

  /**
   * Whether the driver wants a call, now that the next used descriptor goes to `used`. The first
   * time it is called in any case, unless it wants none: what it has seen is not known then (T41).
   */
  takeCallWanted(ring: PackedRing, { position, wrap }: RingCursor): boolean {
    const { moved } = this;
    const first = !this.#considered;
    this.moved = 0;
    this.#considered = true;
    const event = ring.loadDriverEvent();
    const flags = event >>> 16;
    if (flags !== EVENT_DESCRIPTOR || !this.features.eventIndex) return flags !== EVENT_DISABLE;
    if (first) return true;
    const offset = positionOf(event) - (wrapOf(event) === wrap ? 0 : ring.size);
    return ((position - offset - 1) & 0xffff) < moved;
  }

  /** Asks for no kicks. */
  disable(ring: PackedRing, log: PackedRingLog | undefined): void {
    this.#set(ring, EVENT_DISABLE << 16, log);
  }

  /** Asks for a kick with whatever becomes available. */
  enable(ring: PackedRing, log: PackedRingLog | undefined): void {
    this.#set(ring, EVENT_ENABLE << 16, log);
  }

  /**
   * Asks for a kick when the descriptor at `next` becomes available.
   */
  enableAt(ring: PackedRing, next: RingCursor, log: PackedRingLog | undefined): void {
    this.#set(
      ring,
      this.features.eventIndex ? next.packed | (EVENT_DESCRIPTOR << 16) : EVENT_ENABLE,
      log,
    );
  }

  /** The store is a full barrier: the driver sees the wish before we look at the ring (B7). */
  #set(ring: PackedRing, word: number, log: PackedRingLog | undefined): void {
    if (word === EVENT_DISABLE << 16 && ring.deviceEvent === word) return;
    ring.storeDeviceEvent(word);
    log?.event();
  }
}
