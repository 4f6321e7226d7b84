import type { ModelDescriptors, ModelRing, ModelStart } from './model-ring.js';
import { PackedRingMemory } from './packed-ring-memory.js';
import { GUEST_BASE } from './ring-memory.js';

const AVAILABLE = 0x80;
const USED = 0x8000;
const EVENT_ENABLE = 0;
const EVENT_DISABLE = 1;
const EVENT_DESCRIPTOR = 2;
/** No power of two. */
const SIZE = 13;

interface Place {
  readonly position: number;
  readonly wrap: 0 | 1;
}

/** A packed ring. */
export class ModelPackedRing implements ModelRing {
  readonly memory = new PackedRingMemory(SIZE);
  readonly #freeIds: number[] = [];
  /** How many descriptors the chains that are out have, by their ids. */
  readonly #out = new Map<number, number>();
  #freeDescriptors = SIZE;
  /** Where the next used descriptor comes. */
  #used: Place = { position: 0, wrap: 1 };
  /** Descriptors that were written since the last decision whether to kick. */
  #undecided: Place[] = [];

  begin(start: ModelStart): number {
    const { memory } = this;
    memory.bytes.fill(0);
    memory.position = start === 'beginning' ? 0 : SIZE - 3;
    memory.wrap = start === 'beginning' ? 1 : 0;
    this.#used = { position: memory.position, wrap: memory.wrap };
    this.#undecided = [];
    this.#out.clear();
    this.#freeIds.splice(0, this.#freeIds.length, ...Array(SIZE).keys());
    this.#freeDescriptors = SIZE;
    const half = memory.position | (memory.wrap << 15);
    return (half | (half << 16)) >>> 0;
  }

  claim(descriptors: number): number | undefined {
    if (this.#freeDescriptors < descriptors) return undefined;
    const id = this.#freeIds.shift();
    if (id === undefined) return undefined;
    this.#freeDescriptors -= descriptors;
    this.#out.set(id, descriptors);
    return id;
  }

  offer(id: number, descriptors: ModelDescriptors): void {
    let place: Place = { position: this.memory.position, wrap: this.memory.wrap };
    for (let n = 0; n < descriptors.length; n += 1) {
      this.#undecided.push(place);
      place = after(place, 1);
    }
    this.memory.chain(id, ...descriptors);
  }

  writeTable(offset: number, descriptors: ModelDescriptors): void {
    for (const [index, descriptor] of descriptors.entries()) {
      this.memory.tableEntry(offset, index, descriptor);
    }
  }

  wantsKick(): boolean {
    const { flags, at, wrap } = this.memory.deviceEvent;
    const written = this.#undecided;
    this.#undecided = [];
    if (written.length === 0 || flags === EVENT_DISABLE) return false;
    if (flags === EVENT_ENABLE) return true;
    return written.some((place) => place.position === at && place.wrap === wrap);
  }

  takeUsed(): { readonly id: number; readonly length: number } | undefined {
    const { position, wrap } = this.#used;
    const { id, length, flags } = this.memory.at(position);
    const wanted = wrap === 1 ? AVAILABLE | USED : 0;
    if (this.#out.size === 0 || (flags & (AVAILABLE | USED)) !== wanted) return undefined;
    const descriptors = this.#out.get(id);
    if (descriptors === undefined) throw new Error(`id ${id} was used and is not out`);
    this.#used = after(this.#used, descriptors);
    this.#out.delete(id);
    this.#freeIds.push(id);
    this.#freeDescriptors += descriptors;
    return { id, length };
  }

  wantCall(eventIndex: boolean): void {
    const { position, wrap } = this.#used;
    this.memory.driverEvent = eventIndex
      ? { flags: EVENT_DESCRIPTOR, at: position, wrap }
      : { flags: EVENT_ENABLE };
  }

  /** The descriptors are the memory's first page. */
  usedLog(_logAddress: number, shift: number): number {
    return GUEST_BASE + shift;
  }
}

function after({ position, wrap }: Place, descriptors: number): Place {
  const next = position + descriptors;
  return next < SIZE
    ? { position: next, wrap }
    : { position: next - SIZE, wrap: wrap === 1 ? 0 : 1 };
}
