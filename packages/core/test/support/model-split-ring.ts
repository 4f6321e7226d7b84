import type { ModelDescriptors, ModelRing, ModelStart } from './model-ring.js';
import { RingMemory } from './ring-memory.js';

const NEXT = 1;
const NO_NOTIFY = 1;
const SIZE = 16;

/** A split ring. */
export class ModelSplitRing implements ModelRing {
  readonly memory = new RingMemory(SIZE);
  readonly #free: number[] = [];
  /** The descriptors of the chains that are out, by their heads. */
  readonly #out = new Map<number, readonly number[]>();
  #seen = 0;
  /** Available index at the last decision whether to kick. */
  #decided = 0;

  begin(start: ModelStart): number {
    const base = start === 'beginning' ? 0 : 0xfff8;
    this.memory.bytes.fill(0);
    this.memory.availableIndex = base;
    this.memory.usedIndex = base;
    this.#seen = base;
    this.#decided = base;
    this.#out.clear();
    this.#free.splice(0, this.#free.length, ...Array(SIZE).keys());
    return base;
  }

  claim(descriptors: number): number | undefined {
    if (this.#free.length < descriptors) return undefined;
    const claimed = this.#free.splice(0, descriptors);
    const [head] = claimed;
    if (head !== undefined) this.#out.set(head, claimed);
    return head;
  }

  offer(id: number, descriptors: ModelDescriptors): void {
    const claimed = this.#out.get(id) ?? [];
    for (const [index, descriptor] of descriptors.entries()) {
      const next = claimed[index + 1];
      const flags = (descriptor.flags ?? 0) | (next === undefined ? 0 : NEXT);
      this.memory.descriptor(claimed[index] as number, { ...descriptor, flags, next: next ?? 0 });
    }
    this.memory.offer(id);
  }

  writeTable(offset: number, descriptors: ModelDescriptors): void {
    for (const [index, descriptor] of descriptors.entries()) {
      const last = index + 1 === descriptors.length;
      const flags = (descriptor.flags ?? 0) | (last ? 0 : NEXT);
      this.memory.indirect(offset, index, { ...descriptor, flags, next: index + 1 });
    }
  }

  wantsKick(eventIndex: boolean): boolean {
    const { availableIndex, availableEvent, usedFlags } = this.memory;
    const before = this.#decided;
    this.#decided = availableIndex;
    if (availableIndex === before) return false;
    if (!eventIndex) return (usedFlags & NO_NOTIFY) === 0;
    const passed = (availableIndex - availableEvent - 1) & 0xffff;
    return passed < ((availableIndex - before) & 0xffff);
  }

  takeUsed(): { readonly id: number; readonly length: number } | undefined {
    if (this.#seen === this.memory.usedIndex) return undefined;
    const used = this.memory.used(this.#seen);
    const descriptors = this.#out.get(used.id);
    if (descriptors === undefined) throw new Error(`head ${used.id} was used and is not out`);
    this.#seen = (this.#seen + 1) & 0xffff;
    this.#out.delete(used.id);
    this.#free.push(...descriptors);
    return used;
  }

  wantCall(): void {
    // With EVENT_IDX calls are for the next used entry.
    this.memory.usedEvent = this.#seen;
  }

  usedLog(logAddress: number): number {
    return logAddress;
  }
}
