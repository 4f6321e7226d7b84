import type { DirtyLog } from '../../memory/dirty-log.js';
import { DESCRIPTOR_SIZE } from '../descriptor.js';
import { EVENT_BYTES } from './packed-layout.js';

/**
 * Logs what the device writes to one packed ring (seed B8). The used descriptors are logged where they
 * lie. The address that a front-end gives for its used ring is that of the device event area.
 */
export class PackedRingLog {
  /**
   * @param ring - guest-physical address of the descriptors
   * @param eventArea - guest-physical address of the device event area
   * @param size - entries
   */
  constructor(
    private readonly log: DirtyLog,
    private readonly ring: number,
    private readonly eventArea: number,
    private readonly size: number,
  ) {}

  /** `count` descriptors from position `first` on, which may wrap around the end. */
  descriptors(first: number, count: number): void {
    const before = Math.min(count, this.size - first);
    this.log.mark(this.ring + DESCRIPTOR_SIZE * first, DESCRIPTOR_SIZE * before);
    this.log.mark(this.ring, DESCRIPTOR_SIZE * (count - before));
    this.log.event?.signal();
  }

  event(): void {
    this.log.mark(this.eventArea, EVENT_BYTES);
    this.log.event?.signal();
  }
}
