/**
 * Hands out parts of one address range: first fit over a sorted list of free extents, neighbours
 * joined again when they come back. Control path only: rings and buffer pools are allocated once.
 */
export class ExtentAllocator {
  readonly #free: { start: number; end: number }[];
  readonly #taken = new Map<number, number>();

  constructor(
    readonly start: number,
    readonly end: number,
  ) {
    this.#free = [{ start, end }];
  }

  /** Bytes that are free, not necessarily in one piece. */
  get freeBytes(): number {
    return this.#free.reduce((sum, { start, end }) => sum + end - start, 0);
  }

  /** First address of `size` free bytes at a multiple of `alignment`; `undefined` when there are none. */
  allocate(size: number, alignment: number): number | undefined {
    for (const [index, extent] of this.#free.entries()) {
      const address = Math.ceil(extent.start / alignment) * alignment;
      if (address + size <= extent.end) {
        this.#take(index, address, size);
        return address;
      }
    }
    return undefined;
  }

  /** Takes just these bytes. False, and nothing taken, when one of them is not free. */
  allocateAt(address: number, size: number): boolean {
    const index = this.#free.findIndex(
      ({ start, end }) => start <= address && address + size <= end,
    );
    if (index < 0) return false;
    this.#take(index, address, size);
    return true;
  }

  /** Gives back what was allocated at `address`. False when nothing was. */
  release(address: number): boolean {
    const size = this.#taken.get(address);
    if (size === undefined) return false;
    this.#taken.delete(address);
    const at = this.#free.findIndex(({ start }) => start > address);
    const index = at < 0 ? this.#free.length : at;
    this.#free.splice(index, 0, { start: address, end: address + size });
    this.#join(index);
    this.#join(index - 1);
    return true;
  }

  #take(index: number, address: number, size: number): void {
    const extent = this.#free[index];
    if (extent === undefined) return;
    const left = [
      { start: extent.start, end: address },
      { start: address + size, end: extent.end },
    ].filter(({ start, end }) => start < end);
    this.#free.splice(index, 1, ...left);
    this.#taken.set(address, size);
  }

  #join(index: number): void {
    const lower = this.#free[index];
    const upper = this.#free[index + 1];
    if (lower === undefined || upper === undefined || lower.end !== upper.start) return;
    this.#free.splice(index, 2, { start: lower.start, end: upper.end });
  }
}
