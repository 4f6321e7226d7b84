import type { GuestMemoryArena } from '../../memory/guest-memory-arena.js';
import {
  EVENT_BYTES,
  EVENT_DESCRIPTOR,
  EVENT_DISABLE,
  EVENT_ENABLE,
  WRAP_BIT,
} from './packed-layout.js';
import type { RingPosition } from './ring-position.js';

/** One side's event suppression area: what it wants to hear of. One word, through `Atomics`. */
export class EventArea {
  readonly #word: Uint32Array;

  constructor(arena: GuestMemoryArena, address: number) {
    const { buffer, offset } = arena.window(address, EVENT_BYTES);
    this.#word = new Uint32Array(buffer, offset, 1);
  }

  /** As zeroed memory: a notification each time. */
  clear(): void {
    this.#word.fill(0);
  }

  /** Asks for a notification each time. */
  enable(): void {
    Atomics.store(this.#word, 0, EVENT_ENABLE << 16);
  }

  /** Asks for none. */
  disable(): void {
    Atomics.store(this.#word, 0, EVENT_DISABLE << 16);
  }

  /** Asks for one when `position` is passed (EVENT_IDX). */
  enableAt(position: RingPosition): void {
    const place = position.index | (position.wrap === 1 ? WRAP_BIT : 0);
    Atomics.store(this.#word, 0, place | (EVENT_DESCRIPTOR << 16));
  }

  /** Whether the side wants to hear that the other has moved on by `moved` descriptors to `position`. */
  wants(position: RingPosition, moved: number, eventIndex: boolean): boolean {
    const word = Atomics.load(this.#word, 0);
    const flags = word >>> 16;
    if (flags !== EVENT_DESCRIPTOR || !eventIndex) return flags !== EVENT_DISABLE;
    const sameRound = ((word & WRAP_BIT) !== 0) === (position.wrap === 1);
    const offset = (word & (WRAP_BIT - 1)) - (sameRound ? 0 : position.size);
    return ((position.index - offset - 1) & 0xffff) < moved;
  }
}
