import type { Translator } from '../../memory/translator.js';
import { INITIAL_PACKED_BASE, packBase, unpackBase } from '../packed/packed-layout.js';
import { PackedRing } from '../packed/packed-ring.js';
import { SplitRing } from '../split/split-ring.js';
import type { RingAddresses, RingFeatures, Virtqueue } from '../virtqueue.js';
import type { Inflight } from './inflight.js';
import { type PackedDescriptors, PackedInflight } from './packed-inflight.js';
import { SplitInflight } from './split-inflight.js';
import { isTrackable, TrackedVirtqueue } from './tracked-virtqueue.js';

/** What a queue is looked for with. */
export interface RingPlace {
  readonly table: Translator;
  readonly addresses: RingAddresses;
  readonly size: number;
  readonly features: RingFeatures;
}

/** The inflight region of one vring, over all the queues that the vring is given. */
export class InflightRegion {
  /** The region. */
  protected readonly view: DataView;
  #inflight: Inflight | undefined;
  #descriptors: PackedDescriptors = { words: new Int32Array(0), first: 0 };

  /** @param bytes - in memory that the front-end keeps; not shared with another vring */
  constructor(bytes: Uint8Array) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /**
   * Takes over what is noted there, before a queue is made.
   * @param base - where the queue would begin otherwise
   * @returns where it is to begin. Throws `EINVAL` for a region that is not this queue's, and what the
   * ring's layout throws for a ring that cannot be reached
   */
  begin(place: RingPlace, base: number | undefined): number | undefined {
    return place.features.packed ? this.#beginPacked(place, base) : this.#beginSplit(place, base);
  }

  /** The queue itself, but one that keeps this region; {@link begin} came before the first. */
  track(queue: Virtqueue): Virtqueue {
    const inflight = this.#inflight;
    if (inflight === undefined || !isTrackable(queue)) return queue;
    if ('words' in queue.place) this.#descriptors = queue.place;
    return new TrackedVirtqueue(queue, inflight);
  }

  #beginSplit({ table, addresses, size }: RingPlace, base: number | undefined) {
    const ring = new SplitRing(table, addresses, size);
    const inflight = new SplitInflight(this.view, size);
    this.#inflight = inflight;
    const entries = ring.availableFlags + 2;
    const state = {
      used: ring.loadUsedIndex(),
      availableHead: (index: number) => ring.available[entries + (index & (size - 1))] as number,
    };
    return inflight.recover(state) ?? base;
  }

  #beginPacked({ table, addresses, size }: RingPlace, base: number | undefined) {
    this.#descriptors = new PackedRing(table, addresses, size);
    const inflight = new PackedInflight(this.view, size, () => this.#descriptors);
    this.#inflight = inflight;
    const used = inflight.recover(unpackBase(base ?? INITIAL_PACKED_BASE).used);
    return used === undefined ? base : packBase(used, used);
  }
}
