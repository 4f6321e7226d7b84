import type { MemoryTable } from '../memory/memory-table.js';

/** Slots for frames that are outstanding or wait to be published, as in the kernel (UIO_MAXIOV). */
const SLOTS = 1024;
const GENERATIONS = 2 ** 22;

/** What has become of a slot's frame. */
const CLEAR = 0;
const IN_PROGRESS = 1;
const DONE = 2;

/**
 * The frames that are out by reference, as a ring of slots in the order in which they were sent
 * (seed C11). Completions come in any order; slots are freed, and their chains published, from the
 * oldest on. A ticket is a slot and its generation, so that a completion that comes twice, or after
 * its frame was given up, meets nobody.
 */
export class ZeroCopySlots {
  readonly #status = new Uint8Array(SLOTS);
  readonly #heads = new Uint32Array(SLOTS);
  readonly #generations = new Uint32Array(SLOTS);
  readonly #tables: (MemoryTable | undefined)[] = Array.from({ length: SLOTS });
  #oldest = 0;
  #next = 0;
  #used = 0;
  #outstanding = 0;

  /** Slots in use: frames sent and not yet published. */
  get used(): number {
    return this.#used;
  }

  /** Frames whose completion has not come. */
  get outstanding(): number {
    return this.#outstanding;
  }

  /**
   * Takes the next slot for a chain and keeps its memory mapped.
   * @returns the frame's ticket
   */
  take(head: number, table: MemoryTable): number {
    const slot = this.#next;
    const generation = ((this.#generations[slot] as number) + 1) % GENERATIONS;
    this.#generations[slot] = generation;
    this.#status[slot] = IN_PROGRESS;
    this.#heads[slot] = head;
    this.#tables[slot] = table.retain();
    this.#next = (slot + 1) % SLOTS;
    this.#used += 1;
    this.#outstanding += 1;
    return generation * SLOTS + slot;
  }

  /** Takes the last `count` slots back: their frames were not sent after all. */
  giveBack(count: number): void {
    for (let n = 0; n < count; n += 1) {
      this.#next = (this.#next + SLOTS - 1) % SLOTS;
      // A socket that has completed what it did not take is wrong, but must not make us count twice.
      if (this.#status[this.#next] === IN_PROGRESS) this.#release(this.#next, CLEAR);
      this.#status[this.#next] = CLEAR;
      this.#used -= 1;
    }
  }

  /** Marks a frame as done. False for a ticket that is not outstanding. */
  complete(ticket: number): boolean {
    const slot = ticket % SLOTS;
    const generation = Math.floor(ticket / SLOTS);
    if (this.#status[slot] !== IN_PROGRESS || this.#generations[slot] !== generation) return false;
    this.#release(slot, DONE);
    return true;
  }

  /**
   * Frees the oldest slots whose frames are done, up to the first that is not.
   * @param heads - becomes their chains' heads, in order
   * @returns how many
   */
  reap(heads: Uint32Array): number {
    let count = 0;
    while (this.#used > 0 && count < heads.length && this.#status[this.#oldest] === DONE) {
      heads[count] = this.#heads[this.#oldest] as number;
      this.#status[this.#oldest] = CLEAR;
      this.#oldest = (this.#oldest + 1) % SLOTS;
      this.#used -= 1;
      count += 1;
    }
    return count;
  }

  /**
   * Gives up on everything: no chain is published any more. Memory of frames whose completion has
   * not come stays mapped for good, since the socket may still read it.
   */
  abandon(): void {
    this.#status.fill(CLEAR);
    this.#used = 0;
    this.#outstanding = 0;
    this.#oldest = this.#next;
  }

  #release(slot: number, status: number): void {
    this.#status[slot] = status;
    this.#outstanding -= 1;
    this.#tables[slot]?.release();
    this.#tables[slot] = undefined;
  }
}
