import type { VhostError } from '../errors/vhost-error.js';
import { ChainWalker, type DescriptorRing } from './chain-walker.js';
import { DESCRIPTOR_WRITE } from './descriptor.js';
import type { PacketBatch } from './packet-batch.js';
import { PlainLimits } from './plain-limits.js';
import type { RingFeatures } from './virtqueue.js';

/** What virtqueues of both layouts have in common: a ring, a walker for it, and two ways to take. */
export abstract class RingVirtqueue<Ring extends DescriptorRing> {
  readonly size: number;
  readonly inOrder: boolean;
  fault: VhostError | undefined;
  truncated = false;

  protected ring: Ring;
  protected walker: ChainWalker;
  /** For the layout's loop over plain chains. */
  protected readonly limits = new PlainLimits();
  #walkedBefore = 0;
  /** Of the last take: its chains, the descriptors that they hold beyond one each, the most in one. */
  #chains = 0;
  #further = 0;
  #longest = 1;

  constructor(
    ring: Ring,
    protected readonly features: RingFeatures,
  ) {
    this.size = ring.size;
    this.inOrder = features.inOrder;
    this.ring = ring;
    this.walker = new ChainWalker(ring, features.indirect);
  }

  get walked(): number {
    return this.#walkedBefore + this.walker.walked;
  }

  get exhausted(): boolean {
    return this.size - this.#chains - this.#further < this.#longest;
  }

  /** Goes on in another place. */
  protected moveTo(ring: Ring): void {
    this.#walkedBefore = this.walked;
    this.ring = ring;
    this.walker = new ChainWalker(ring, this.features.indirect);
  }

  takeReadable(batch: PacketBatch, limit: number, headerLength: number, skip: number): number {
    return this.take(batch, limit, headerLength + 1, skip, 0);
  }

  takeWritable(batch: PacketBatch, limit: number, headerLength: number, skip: number): number {
    this.#further = 0;
    this.#longest = 1;
    this.#chains = this.take(batch, limit, headerLength, skip, DESCRIPTOR_WRITE);
    return this.#chains;
  }

  /**
   * Takes plain chains in the layout's `takePlain`, and all others by the walker. `npm run bench -- ring`
   * watches it.
   * @param minimum - bytes that a chain must have
   * @param direction - the WRITE flag that every descriptor must have, or 0
   */
  protected abstract take(
    batch: PacketBatch,
    limit: number,
    minimum: number,
    skip: number,
    direction: number,
  ): number;

  /** Adds the chain walked last, whose segments are in the batch already, as chain `count`. */
  protected addWalked(batch: PacketBatch, count: number, head: number, direction: number): void {
    const { readableBytes, writableBytes, ringDescriptors } = this.walker;
    this.#further += ringDescriptors - 1;
    this.#longest = Math.max(this.#longest, ringDescriptors);
    batch.heads[count] = head;
    batch.lengths[count] = direction === 0 ? readableBytes : writableBytes;
    batch.firstSegment[count + 1] = batch.segments.count;
  }
}
