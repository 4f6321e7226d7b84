import { ArrayBufferMapping, type MemoryMapping, type MemoryRegion } from '@rxvhost/core';

const CANARY = 0xc7;
/** Bytes of the guard zones before, between and behind the regions. */
const GUARD = 4096;

/**
 * Regions of guest memory in one buffer, with guard zones around each: a device that reaches past a
 * region, by wrong arithmetic or a wrong window, finds memory there, but is found out.
 */
export class GuardedMemory {
  readonly regions: readonly MemoryRegion[];
  readonly #bytes: Uint8Array;
  readonly #guards: { start: number; end: number }[] = [];
  readonly #canaries = Buffer.alloc(GUARD, CANARY);

  /** @param makeMapping - the memory to use; plain memory by default */
  constructor(
    places: readonly { guestAddress: number; userAddress: number; size: number }[],
    makeMapping: (size: number) => MemoryMapping = (size) =>
      new ArrayBufferMapping(new ArrayBuffer(size)),
  ) {
    const mapping = makeMapping(places.reduce((sum, { size }) => sum + size + GUARD, GUARD));
    const [buffer] = mapping.windows;
    if (buffer === undefined) throw new Error('a mapping has a window');
    this.#bytes = new Uint8Array(buffer).fill(CANARY);
    let at = 0;
    this.regions = places.map((place) => {
      this.#guards.push({ start: at, end: at + GUARD });
      const mappingOffset = at + GUARD;
      at = mappingOffset + place.size;
      this.#bytes.fill(0, mappingOffset, at);
      return { ...place, mapping, mappingOffset };
    });
    this.#guards.push({ start: at, end: at + GUARD });
  }

  /** True while no byte of a guard zone has changed. */
  get intact(): boolean {
    return this.#guards.every(({ start, end }) =>
      this.#canaries.equals(this.#bytes.subarray(start, end)),
    );
  }

  /** Whether bytes of a window lie in a region of ours. */
  holds(window: Uint8Array, offset: number, length: number): boolean {
    return (
      window.buffer === this.#bytes.buffer &&
      this.regions.some(({ mappingOffset = 0, size }) => {
        return offset >= mappingOffset && offset + length <= mappingOffset + size;
      })
    );
  }

  /** A copy of everything, guards included. */
  snapshot(): Buffer {
    return Buffer.from(this.#bytes);
  }

  /** Where `guestAddress` is in a snapshot. */
  offsetOf(guestAddress: number): number {
    for (const region of this.regions) {
      const at = guestAddress - region.guestAddress;
      if (at >= 0 && at < region.size) return (region.mappingOffset ?? 0) + at;
    }
    throw new Error(`${guestAddress} is in no region`);
  }
}
