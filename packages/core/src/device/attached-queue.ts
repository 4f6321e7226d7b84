import { toVhostError, type VhostError } from '../errors/vhost-error.js';
import type { GuestMemory } from '../memory/guest-memory.js';
import type { Translator } from '../memory/translator.js';
import type { InflightRegion } from '../virtqueue/inflight/inflight-region.js';
import { TrackedVirtqueue } from '../virtqueue/inflight/tracked-virtqueue.js';
import type { RingFeatures, Virtqueue, VirtqueueFactory } from '../virtqueue/virtqueue.js';
import { NO_LOG, type VirtqueueLog } from '../virtqueue/virtqueue-log.js';
import type { VringAddresses } from './virtio-device.js';

/** What a queue is made with when its rings have been found. */
export interface QueuePlan {
  readonly size: number;
  readonly features: RingFeatures;
  /** Where to begin; undefined to go on where the ring itself says that it was. */
  readonly base: number | undefined;
  /** The queue that it takes the place of, if one ran on these rings until now. */
  readonly before: Virtqueue | undefined;
  /** Where what it takes is noted, for the back-end after us. */
  readonly inflight: InflightRegion | undefined;
}

/**
 * A vring's queue while it is attached. Behind an IOMMU (seed B10) the rings' addresses are only as
 * good as the translations that the front-end has told: while one is missing the queue is *parked*.
 * It keeps where it had got to, but nobody may touch the rings; the next one who wants to looks for
 * them again. A look that fails is reported once; then nobody looks before there is a reason to,
 * a kick or an update.
 */
export class AttachedQueue {
  #queue: Virtqueue | undefined;
  #located = false;
  #stalled = false;
  #log: VirtqueueLog = NO_LOG;

  /** @param failed - told why the rings cannot be reached */
  constructor(
    private readonly memory: GuestMemory,
    private readonly virtqueues: VirtqueueFactory,
    private readonly plan: QueuePlan,
    private addresses: VringAddresses,
    private readonly failed: (error: VhostError) => void,
  ) {}

  /** The queue, unless it is parked. */
  get queue(): Virtqueue | undefined {
    return this.#located ? this.#queue : undefined;
  }

  /** The queue, parked or not, or the one before it while the rings have never been found. */
  get latest(): Virtqueue | undefined {
    return this.#queue ?? this.plan.before;
  }

  /** Where it has got to; undefined before the rings were found, if nobody has said. */
  get base(): number | undefined {
    return this.#queue?.base ?? this.plan.base;
  }

  /** The queue; looks for the rings if it is parked. Undefined when they cannot be reached now. */
  reach(): Virtqueue | undefined {
    if (this.#located) return this.#queue;
    if (this.#stalled) return undefined;
    try {
      return this.locate();
    } catch (error) {
      this.#stalled = true;
      this.failed(toVhostError(error));
      return undefined;
    }
  }

  /**
   * Finds the rings in memory as it is now. Throws `EFAULT`, `EINVAL`, and behind an IOMMU `EPERM`
   * or an `IotlbMiss`.
   */
  locate(): Virtqueue {
    const { memory, addresses } = this;
    if (this.#queue === undefined) {
      this.#queue = this.#create(memory.translator);
    } else {
      this.#queue.relocate(memory.translator, addresses);
      this.#queue.setLog(this.#log);
    }
    this.#located = true;
    this.#stalled = false;
    return this.#queue;
  }

  #create(table: Translator): Virtqueue {
    const { addresses } = this;
    const { size, features, base, before, inflight } = this.plan;
    const replaced = before instanceof TrackedVirtqueue ? before.queue : before;
    const place = { table, addresses, size, features };
    const start = before === undefined && inflight ? inflight.begin(place, base) : base;
    const { virtqueues } = this;
    const log = this.#log;
    const queue = virtqueues.create(table, addresses, size, features, start, log, replaced);
    return inflight?.track(queue) ?? queue;
  }

  /** The rings are to be looked for again: memory, addresses or translations have changed. */
  park(addresses = this.addresses): void {
    this.addresses = addresses;
    this.#located = false;
    this.#stalled = false;
  }

  /** There is reason to look once more for rings that were not found. */
  retry(): void {
    this.#stalled = false;
  }

  /** Parks if a part of the rings lies in `[address, end)`. */
  parkIfIn(address: number, end: number): void {
    if (this.#located && this.#liesIn(address, end)) this.park();
  }

  setLog(log: VirtqueueLog): void {
    this.#log = log;
    this.queue?.setLog(log);
  }

  #liesIn(address: number, end: number): boolean {
    const { size, features } = this.plan;
    const bytes = this.virtqueues.areas(size, features);
    const areas = ['descriptorTable', 'availableRing', 'usedRing'] as const;
    return areas.some((area) => {
      const start = this.addresses[area];
      return start < end && address < start + bytes[area];
    });
  }
}
