/** Back-ends that die before one of their stores, over rings and regions that outlive them. */
import {
  NO_FEATURES,
  PACKED_VIRTQUEUES,
  PacketBatch,
  type RingFeatures,
  SPLIT_VIRTQUEUES,
  type Virtqueue,
} from '../../src/index.js';
import { InflightRegion } from '../../src/virtqueue/inflight/inflight-region.js';
import { packedInflightBytes } from '../../src/virtqueue/inflight/packed-inflight-layout.js';
import { splitInflightBytes } from '../../src/virtqueue/inflight/split-inflight.js';
import { PackedRingMemory } from './packed-ring-memory.js';
import { RingMemory } from './ring-memory.js';

export const SIZE = 8;
const FRAME = 60;
const USED_FLAGS = 0x8080;

export class Died extends Error {}

/** How many stores a back-end may still make. */
export interface Life {
  left: number;
}

function live(life: Life): void {
  if (life.left === 0) throw new Died();
  life.left -= 1;
}

/** A region in a process that ends before one of its stores. */
class MortalRegion extends InflightRegion {
  constructor(bytes: Uint8Array, life: Life) {
    super(bytes);
    const { view } = this;
    for (const name of ['setUint8', 'setUint16', 'setUint32'] as const) {
      const store = view[name].bind(view);
      view[name] = (...given: [number, number, boolean?]) => {
        live(life);
        store(...given);
      };
    }
    const store = view.setBigUint64.bind(view);
    view.setBigUint64 = (...given) => {
      live(life);
      store(...given);
    };
  }
}

/** What a driver and a device do in turn. */
export interface Step {
  readonly kind: 'offer' | 'take' | 'put back' | 'complete';
  readonly count: number;
}

/** A ring with its driver and its region, which outlive the back-ends. */
export interface Scene {
  readonly features: RingFeatures;
  /** Ids in the order in which chains were offered, and in which they came back. */
  readonly offered: number[];
  readonly used: number[];
  offer(count: number): void;
  /** The driver takes back what was used. */
  collect(): void;
  /** A new back-end's queue. */
  makeQueue(life: Life): Virtqueue;
}

export class SplitScene implements Scene {
  readonly features = NO_FEATURES;
  readonly offered: number[] = [];
  readonly used: number[] = [];
  readonly #ring = new RingMemory(SIZE);
  readonly #region = new Uint8Array(splitInflightBytes(SIZE));
  readonly #memory = this.#ring.memory();
  readonly #free = Array.from({ length: SIZE }, (_, head) => (head * 3) % SIZE);

  constructor() {
    for (let head = 0; head < SIZE; head += 1)
      this.#ring.descriptor(head, { at: 0, length: FRAME });
  }

  collect(): void {
    while (this.used.length % 0x1_0000 !== this.#ring.usedIndex) {
      const { id } = this.#ring.used(this.used.length % SIZE);
      this.used.push(id);
      this.#free.push(id);
    }
  }

  offer(count: number): void {
    this.collect();
    for (const head of this.#free.splice(0, count)) {
      this.offered.push(head);
      this.#ring.offer(head);
    }
  }

  makeQueue(life: Life): Virtqueue {
    const { features } = this;
    const region = new MortalRegion(this.#region, life);
    const { table } = this.#memory;
    const { addresses } = this.#ring;
    const base = region.begin({ table, addresses, size: SIZE, features }, 0);
    const queue = SPLIT_VIRTQUEUES.create(table, addresses, SIZE, features, base);
    const complete = queue.completeReadable.bind(queue);
    queue.completeReadable = (...given) => {
      // The publication is a store like the others.
      live(life);
      complete(...given);
    };
    return region.track(queue);
  }
}

/** Chains of one to three descriptors in a ring whose size is no power of two. */
export class PackedScene implements Scene {
  readonly features = { ...NO_FEATURES, packed: true };
  readonly offered: number[] = [];
  readonly used: number[] = [];
  readonly #size = SIZE + 3;
  readonly #ring = new PackedRingMemory(this.#size);
  readonly #region = new Uint8Array(packedInflightBytes(this.#size));
  readonly #memory = this.#ring.memory();
  /** Descriptors of each chain that is out. */
  readonly #out = new Map<number, number>();
  #room = this.#size;
  #id = 0;
  /** Where the driver looks for the next used descriptor. */
  #position = 0;
  #wrap: 0 | 1 = 1;

  collect(): void {
    for (;;) {
      const { id, flags } = this.#ring.at(this.#position);
      if ((flags & USED_FLAGS) !== (this.#wrap === 1 ? USED_FLAGS : 0) || this.#out.size === 0)
        return;
      this.used.push(id);
      const descriptors = this.#out.get(id);
      // One that was not out: the test will see it in the list.
      if (descriptors === undefined) return;
      this.#out.delete(id);
      this.#room += descriptors;
      this.#position += descriptors;
      if (this.#position < this.#size) continue;
      this.#position -= this.#size;
      this.#wrap = this.#wrap === 1 ? 0 : 1;
    }
  }

  offer(count: number): void {
    this.collect();
    for (let chain = 0; chain < count; chain += 1) {
      const descriptors = 1 + (this.offered.length % 3);
      if (descriptors > this.#room) return;
      while (this.#out.has(this.#id)) this.#id = (this.#id + 1) % this.#size;
      const id = this.#id;
      this.#id = (this.#id + 1) % this.#size;
      this.#out.set(id, descriptors);
      this.#room -= descriptors;
      this.offered.push(id);
      const parts = Array.from({ length: descriptors }, () => ({ at: 0, length: FRAME }));
      this.#ring.chain(id, ...parts);
    }
  }

  makeQueue(life: Life): Virtqueue {
    const { features } = this;
    const region = new MortalRegion(this.#region, life);
    const { table } = this.#memory;
    const { addresses } = this.#ring;
    const size = this.#size;
    const base = region.begin({ table, addresses, size, features }, undefined);
    const queue = PACKED_VIRTQUEUES.create(table, addresses, size, features, base);
    const complete = queue.completeReadable.bind(queue);
    queue.completeReadable = (heads, first, count) => {
      live(life);
      const from = queue.base >>> 16;
      const place = (from & 0x7fff) * 16;
      const before = this.#ring.bytes.slice(place, place + 16);
      complete(heads, first, count);
      if (count === 0 || life.left > 0) {
        life.left -= count === 0 ? 0 : 1;
        return;
      }
      // A death in the middle of the publication: all but the batch's first descriptor is written.
      this.#ring.bytes.set(before, place);
      throw new Died();
    };
    return region.track(queue);
  }
}

/** A back-end process: it has what it took in private memory, and dies with it. */
export class BackEnd {
  readonly #queue: Virtqueue;
  readonly #batch = new PacketBatch();
  readonly #held: number[] = [];
  /** Chains of the last take, which may be put back. */
  #latest = 0;

  constructor(scene: Scene, life: Life) {
    this.#queue = scene.makeQueue(life);
  }

  do({ kind, count }: Step): void {
    switch (kind) {
      case 'offer':
        return;
      case 'take': {
        const taken = this.#queue.takeReadable(this.#batch, count, 0, 0);
        this.#held.push(...this.#batch.heads.subarray(0, taken));
        this.#latest = taken;
        return;
      }
      case 'put back': {
        const chains = Math.min(count, this.#held.length, this.#latest);
        this.#latest -= chains;
        this.#held.length -= chains;
        this.#queue.putBack(chains);
        return;
      }
      case 'complete': {
        const heads = this.#held.splice(0, count);
        this.#queue.completeReadable(Uint32Array.from(heads), 0, heads.length);
        return;
      }
    }
  }
}
