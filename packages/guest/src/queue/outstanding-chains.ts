/**
 * The chains that the device has: how many ring descriptors each holds, and, where the device uses
 * chains in order (IN_ORDER), which one is next. Nothing here is read back from guest memory.
 */
export class OutstandingChains {
  /** Chains that the device has. */
  count = 0;
  /** Ring descriptors that no chain holds. */
  freeDescriptors: number;

  /** By id: descriptors of the chain, 0 for none; bytes that the device may write there. */
  readonly #descriptors: Uint16Array;
  readonly #writable: Uint32Array;
  /** Ids in the order in which the chains were added. */
  readonly #order: Uint16Array;
  #oldest = 0;

  /** @param size - entries of the ring; ids are below it */
  constructor(
    readonly size: number,
    readonly inOrder: boolean,
  ) {
    this.#descriptors = new Uint16Array(size);
    this.#writable = new Uint32Array(inOrder ? size : 0);
    this.#order = new Uint16Array(inOrder ? size : 0);
    this.freeDescriptors = size;
  }

  /** @param writable - bytes that the device may write to the chain */
  add(id: number, descriptors: number, writable: number): void {
    this.#descriptors[id] = descriptors;
    if (this.inOrder) {
      this.#writable[id] = writable;
      this.#order[(this.#oldest + this.count) % this.size] = id;
    }
    this.count += 1;
    this.freeDescriptors -= descriptors;
  }

  /** Ring descriptors of the chain with this id, whatever number that is; 0 when there is none. */
  descriptorsOf(id: number): number {
    return id < this.size ? (this.#descriptors[id] as number) : 0;
  }

  /** The chain is back; returns its ring descriptors. */
  remove(id: number): number {
    const descriptors = this.#descriptors[id] as number;
    this.#descriptors[id] = 0;
    this.count -= 1;
    this.freeDescriptors += descriptors;
    if (this.inOrder) this.#oldest = (this.#oldest + 1) % this.size;
    return descriptors;
  }

  /** In order: the chain that the device uses next. */
  get oldest(): number {
    return this.#order[this.#oldest] as number;
  }

  /** In order: bytes of the oldest chain when the device has used all of it. */
  get oldestWritable(): number {
    return this.#writable[this.oldest] as number;
  }

  /** In order: chains from number `from` after the oldest up to and with `id`; 0 when it is not there. */
  through(id: number, from = 0): number {
    for (let index = from; index < this.count; index += 1) {
      if (this.idAt(index) === id) return index - from + 1;
    }
    return 0;
  }

  /** In order: the id of chain `index` counted from the oldest. */
  idAt(index: number): number {
    return this.#order[(this.#oldest + index) % this.size] as number;
  }

  clear(): void {
    this.#descriptors.fill(0);
    this.count = 0;
    this.freeDescriptors = this.size;
    this.#oldest = 0;
  }
}
