import type { ModelRing, ModelStart } from './model-ring.js';
import type { RingMemory } from './ring-memory.js';

const WRITE = 2;
const INDIRECT = 4;
const SLOT = 0x1000;

/** How a chain is laid out: one descriptor, several, or an indirect table of several. */
export type ChainForm = 'single' | 'split' | 'indirect';

/** A chain that the guest has made available and not got back. */
interface Chain<Tag> {
  readonly tag: Tag;
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

  constructor(
    private readonly layout: ModelRing,
    private readonly shift: number,
  ) {}

  get ring(): RingMemory {
    return this.layout.memory;
  }

  /** A ring that is empty, at some index; returns the base to give to the device. */
  begin(start: ModelStart, eventIndex: boolean): number {
    this.eventIndex = eventIndex;
    this.#chains.clear();
    return this.layout.begin(start);
  }

  /** Chains that have not come back. */
  get pending(): number {
    return this.#chains.size;
  }

  /** See {@link ModelRing.usedLog}. */
  usedLog(logAddress: number): number {
    return this.layout.usedLog(logAddress, this.shift);
  }

  /**
   * Makes a chain available. `lengths` are those of its pieces.
   * @param bytes - to send; left out for a buffer to receive into
   * @returns whether there was room in the ring
   */
  offer(tag: Tag, form: ChainForm, lengths: readonly number[], bytes?: Uint8Array): boolean {
    const pieces = form === 'single' ? [lengths.reduce((sum, n) => sum + n, 0)] : lengths;
    const id = this.layout.claim(form === 'indirect' ? 1 : pieces.length);
    if (id === undefined) return false;
    const write = bytes === undefined ? WRITE : 0;
    let at = id * SLOT;
    let done = 0;
    const buffers = pieces.map((length) => {
      const buffer = { at, length };
      this.ring.data(at, length).fill(0xee);
      if (bytes !== undefined) this.ring.data(at, length).set(bytes.subarray(done, done + length));
      done += length;
      at += length + 3;
      return buffer;
    });
    const descriptors = buffers.map(({ at, length }) => this.#descriptor(at, length, write));
    this.#chains.set(id, { tag, buffers });
    if (form === 'indirect') {
      const table = 0x8_0000 + id * 0x100;
      this.layout.writeTable(table, descriptors);
      this.layout.offer(id, [this.#descriptor(table, 16 * buffers.length, INDIRECT)]);
    } else {
      this.layout.offer(id, descriptors);
    }
    return true;
  }

  /** Whether the device wants to hear of what was offered since this was last asked. */
  get wantsKick(): boolean {
    return this.layout.wantsKick(this.eventIndex);
  }

  /** Takes back the chains that were used, and uses their memory for something else. */
  takeUsed(): UsedChain<Tag>[] {
    const back: UsedChain<Tag>[] = [];
    for (let used = this.layout.takeUsed(); used !== undefined; used = this.layout.takeUsed()) {
      const { id, length } = used;
      const chain = this.#chains.get(id);
      if (chain === undefined) throw new Error(`chain ${id} was never offered`);
      this.#chains.delete(id);
      const all = Buffer.concat(chain.buffers.map(({ at, length }) => this.ring.data(at, length)));
      if (length > all.length) throw new Error(`${length} bytes used of a chain of ${all.length}`);
      back.push({
        tag: chain.tag,
        bytes: all.subarray(0, length),
        written: firstBytes(chain, length),
      });
      for (const { at, length } of chain.buffers) this.ring.data(at, length).fill(0xdd);
    }
    this.layout.wantCall(this.eventIndex);
    return back;
  }

  #descriptor(offset: number, length: number, flags: number) {
    const at = BigInt(this.ring.address(offset) + this.shift);
    return { at, length, flags, absolute: true };
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
