import type { GuestMemoryArena } from '../memory/guest-memory-arena.js';

/** Frame buffers of one size in one piece of guest memory, numbered; free ones on a stack. */
export class BufferPool {
  /** Guest address of each buffer. */
  readonly addresses: Float64Array;
  /** Each buffer's bytes, as a view. */
  readonly bytes: readonly Uint8Array[];
  readonly #base: number;
  readonly #free: Uint16Array;
  #freeCount: number;

  constructor(
    readonly arena: GuestMemoryArena,
    readonly count: number,
    readonly size: number,
  ) {
    const stride = Math.ceil(size / 64) * 64;
    this.#base = arena.allocate(count * stride, 64);
    this.addresses = Float64Array.from(
      { length: count },
      (_, index) => this.#base + index * stride,
    );
    this.bytes = Array.from(this.addresses, (address) => arena.bytes(address, size));
    this.#free = new Uint16Array(count);
    this.#freeCount = 0;
    this.reset();
  }

  /** Buffers on the stack. */
  get free(): number {
    return this.#freeCount;
  }

  /** The number of a free buffer, or -1. */
  take(): number {
    if (this.#freeCount === 0) return -1;
    this.#freeCount -= 1;
    return this.#free[this.#freeCount] as number;
  }

  /** Puts a buffer back. */
  give(buffer: number): void {
    this.#free[this.#freeCount] = buffer;
    this.#freeCount += 1;
  }

  /** All buffers free again. */
  reset(): void {
    for (let index = 0; index < this.count; index += 1) {
      this.#free[index] = this.count - 1 - index;
    }
    this.#freeCount = this.count;
  }

  /** Gives the memory back to the arena. */
  release(): void {
    this.arena.release(this.#base);
  }
}
