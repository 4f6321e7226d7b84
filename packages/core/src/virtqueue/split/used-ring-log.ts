import type { DirtyLog } from '../../memory/dirty-log.js';
import { usedRingBytes } from './split-layout.js';

/** Logs the writes to one split used ring, by the field that was written. */
export class UsedRingLog {
  readonly #mask: number;

  /**
   * @param address - guest-physical address of the ring
   * @param size - entries, a power of two
   */
  constructor(
    private readonly log: DirtyLog,
    private readonly address: number,
    private readonly size: number,
  ) {
    this.#mask = size - 1;
  }

  flags(): void {
    this.log.mark(this.address, 2);
    this.log.event?.signal();
  }

  index(): void {
    this.log.mark(this.address + 2, 2);
    this.log.event?.signal();
  }

  /** Entries `next … next + count - 1`, which may wrap around the end. */
  entries(next: number, count: number): void {
    const first = next & this.#mask;
    const before = Math.min(count, this.size - first);
    this.log.mark(this.address + 4 + 8 * first, 8 * before);
    this.log.mark(this.address + 4, 8 * (count - before));
  }

  availableEvent(): void {
    this.log.mark(this.address + usedRingBytes(this.size) - 2, 2);
    this.log.event?.signal();
  }
}
