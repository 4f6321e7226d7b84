import type { RingMemory } from './ring-memory.js';

const NEXT = 1;
const WRITE = 2;
const INDIRECT = 4;
const SLOT = 0x1000;
const NO_NOTIFY = 1;

/** How a chain is laid out: one descriptor, several, or an indirect table of several. */
export type ChainForm = 'single' | 'split' | 'indirect';

/** A chain that the guest has made available and not got back. */
interface Chain<Tag> {
  readonly tag: Tag;
  readonly descriptors: readonly number[];
  /** Offsets of its buffers. */
  readonly buffers: readonly { readonly at: number; readonly length: number }[];
}

/** A chain that came back. */
export interface UsedChain<Tag> {
  readonly tag: Tag;
  /** What the device has written, as the used entry says. */
  readonly bytes: Uint8Array;
  /** Where: offsets in the ring's memory. */
  readonly written: readonly { readonly at: number; readonly length: number }[];
}

/** A guest's driver of one ring, by the book; it kicks when the device wants to be kicked. */
export class ModelGuestRing<Tag> {
  eventIndex = false;
  readonly #chains = new Map<number, Chain<Tag>>();
  readonly #free: number[];
  #seen = 0;
  /** Available index at the last decision whether to kick. */
  #decided = 0;

  constructor(
    readonly ring: RingMemory,
    private readonly shift: number,
  ) {
    this.#free = Array.from({ length: ring.size }, (_, index) => index);
  }

  /** A ring that is empty, at some index. */
  begin(base: number, eventIndex: boolean): void {
    this.ring.bytes.fill(0);
    this.ring.availableIndex = base;
    this.ring.usedIndex = base;
    this.#seen = base;
    this.#decided = base;
    this.eventIndex = eventIndex;
    this.#chains.clear();
    this.#free.splice(0, this.#free.length, ...Array(this.ring.size).keys());
  }

  /** Chains that have not come back. */
  get pending(): number {
    return this.#chains.size;
  }

  /**
   * Makes a chain available. `lengths` are those of its pieces.
   * @param bytes - to send; left out for a buffer to receive into
   * @returns whether there was room in the ring
   */
  offer(tag: Tag, form: ChainForm, lengths: readonly number[], bytes?: Uint8Array): boolean {
    const pieces = form === 'single' ? [lengths.reduce((sum, n) => sum + n, 0)] : lengths;
    const needed = form === 'indirect' ? 1 : pieces.length;
    if (this.#free.length < needed) return false;
    const descriptors = this.#free.splice(0, needed);
    const head = descriptors[0] as number;
    const write = bytes === undefined ? WRITE : 0;
    let at = head * SLOT;
    let done = 0;
    const buffers = pieces.map((length) => {
      const buffer = { at, length };
      this.ring.data(at, length).fill(0xee);
      if (bytes !== undefined) this.ring.data(at, length).set(bytes.subarray(done, done + length));
      done += length;
      at += length + 3;
      return buffer;
    });
    const table = 0x8_0000 + head * 0x100;
    for (const [index, { at, length }] of buffers.entries()) {
      const last = index === buffers.length - 1;
      const descriptor = {
        at: this.#address(at),
        length,
        absolute: true,
        flags: write | (last ? 0 : NEXT),
      };
      if (form === 'indirect') this.ring.indirect(table, index, { ...descriptor, next: index + 1 });
      else {
        const next = descriptors[index + 1] ?? 0;
        this.ring.descriptor(descriptors[index] as number, { ...descriptor, next });
      }
    }
    if (form === 'indirect') {
      const length = 16 * buffers.length;
      this.ring.descriptor(head, {
        at: this.#address(table),
        length,
        absolute: true,
        flags: INDIRECT,
      });
    }
    this.#chains.set(head, { tag, descriptors, buffers });
    this.ring.offer(head);
    return true;
  }

  /** Whether the device wants to hear of what was offered since this was last asked. */
  get wantsKick(): boolean {
    const { availableIndex, availableEvent, usedFlags } = this.ring;
    const before = this.#decided;
    this.#decided = availableIndex;
    if (availableIndex === before) return false;
    if (!this.eventIndex) return (usedFlags & NO_NOTIFY) === 0;
    const passed = (availableIndex - availableEvent - 1) & 0xffff;
    return passed < ((availableIndex - before) & 0xffff);
  }

  /** Takes back the chains that were used, and uses their memory for something else. */
  takeUsed(): UsedChain<Tag>[] {
    const back: UsedChain<Tag>[] = [];
    for (; this.#seen !== this.ring.usedIndex; this.#seen = (this.#seen + 1) & 0xffff) {
      const { id, length } = this.ring.used(this.#seen);
      const chain = this.#chains.get(id);
      if (chain === undefined) throw new Error(`head ${id} was used and is not out`);
      this.#chains.delete(id);
      this.#free.push(...chain.descriptors);
      const all = Buffer.concat(chain.buffers.map(({ at, length }) => this.ring.data(at, length)));
      if (length > all.length) throw new Error(`${length} bytes used of a chain of ${all.length}`);
      back.push({
        tag: chain.tag,
        bytes: all.subarray(0, length),
        written: firstBytes(chain, length),
      });
      for (const { at, length } of chain.buffers) this.ring.data(at, length).fill(0xdd);
    }
    // With EVENT_IDX calls are for the next used entry.
    this.ring.usedEvent = this.#seen;
    return back;
  }

  #address(offset: number): bigint {
    return BigInt(this.ring.address(offset) + this.shift);
  }
}

/** The parts of a chain's buffers that its first `length` bytes are in. */
function firstBytes({ buffers }: Chain<unknown>, length: number) {
  let left = length;
  const parts: { at: number; length: number }[] = [];
  for (const buffer of buffers) {
    const part = Math.min(left, buffer.length);
    if (part > 0) parts.push({ at: buffer.at, length: part });
    left -= part;
  }
  return parts;
}
