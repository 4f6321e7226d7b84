import type { VhostError } from '../../errors/vhost-error.js';
import type { SegmentList } from '../../memory/segment-list.js';
import type { Translator } from '../../memory/translator.js';
import { splitExchange } from '../exchange.js';
import { MAX_SEGMENTS, type PacketBatch } from '../packet-batch.js';
import { segmentRoom } from '../plain-limits.js';
import { RingVirtqueue } from '../ring-virtqueue.js';
import {
  DESCRIPTORS_PER_TAKE,
  type RingAddresses,
  type RingFeatures,
  type Virtqueue,
} from '../virtqueue.js';
import { NO_LOG, type VirtqueueLog } from '../virtqueue-log.js';
import { outstandingIn, packBase, unpackBase } from './packed-layout.js';
import { PackedNotifications } from './packed-notifications.js';
import { PackedRing } from './packed-ring.js';
import { PackedRingLog } from './packed-ring-log.js';
import { PackedUsed } from './packed-used.js';
import { RingCursor } from './ring-cursor.js';
import { looksPlain, takePlain } from './take-plain.js';
import { TakenChains } from './taken-chains.js';

/**
 * The device's side of a packed virtqueue (virtio 1.2, 2.8; seeds B1 to B7). See `packed-layout.ts` for
 * the areas.
 *
 * Memory order: a take first looks how many descriptors are available, then comes a full barrier, and
 * only then are they read. Of a batch of used descriptors the first becomes visible last, by an
 * `Atomics` store, so the driver never sees a part of a batch, nor of a frame in several buffers.
 */
export class PackedVirtqueue extends RingVirtqueue<PackedRing> implements Virtqueue {
  readonly #notifications: PackedNotifications;
  readonly #taken: TakenChains;
  readonly #used: PackedUsed;
  /** Where the next chain begins. */
  readonly #next: RingCursor;
  /** Where the next chain that we want a kick for begins. */
  readonly #wanted: RingCursor;
  #log: VirtqueueLog = NO_LOG;
  #usedLog: PackedRingLog | undefined;

  /**
   * Attaches to the ring and tells the driver to kick (A11).
   * @param base - from SET_VRING_BASE
   * @param before - the queue that this one replaces; what that has taken is completed here
   */
  constructor(
    ring: PackedRing,
    features: RingFeatures,
    base: number,
    log = NO_LOG,
    before?: Virtqueue,
  ) {
    super(ring, features);
    this.#notifications = new PackedNotifications(features);
    const { available, used } = unpackBase(base);
    this.#next = new RingCursor(available, this.size);
    this.#wanted = new RingCursor(available, this.size);
    const ours = before instanceof PackedVirtqueue && before.size === this.size;
    this.#taken = ours ? before.#taken : new TakenChains(this.size, outstandingIn(base, this.size));
    // A base whose used half is 0 does not tell position 0 of a second round from none.
    this.#used = new PackedUsed(this.#taken, ours ? before.nextUsed : used);
    this.setLog(log);
    this.#notifications.enable(ring, this.#usedLog);
  }

  get base(): number {
    return packBase(this.#next.packed, this.#used.at.packed);
  }

  /** Where the next used descriptor goes: the position, its wrap counter in bit 15. */
  get nextUsed(): number {
    return this.#used.at.packed;
  }

  /** The ring as it is found in memory now. */
  get place(): PackedRing {
    return this.ring;
  }

  relocate(table: Translator, addresses: RingAddresses): void {
    this.moveTo(new PackedRing(table, addresses, this.size));
    this.setLog(this.#log);
  }

  setLog(log: VirtqueueLog): void {
    const { guestAddress, eventGuestAddress } = this.ring;
    const { usedRing, usedRingAddress = eventGuestAddress } = log;
    this.#log = log;
    this.#usedLog =
      usedRing && new PackedRingLog(usedRing, guestAddress, usedRingAddress, this.size);
  }

  /**
   * A descriptor's flags are read to see that it is available, again to see that it looks plain, and
   * once more with the rest of it: each answer is used for that alone (T38).
   */
  protected take(
    batch: PacketBatch,
    limit: number,
    minimum: number,
    skip: number,
    direction: number,
  ): number {
    const ring = this.ring;
    const { size } = this;
    const taken = this.#taken;
    batch.reset(ring.windows, skip);
    this.fault = undefined;
    this.truncated = false;
    let most = Math.min(limit, batch.capacity, size - taken.outstanding);
    const { segments } = batch;
    const room = segmentRoom(batch);
    const walkedLimit = this.walker.walked + DESCRIPTORS_PER_TAKE;
    this.walker.refresh();
    // Descriptors that are available and not taken yet, up to the ring's end.
    let ready = 0;
    let bounded = false;
    while (!bounded) {
      const { position } = this.#next;
      if (ready === 0) {
        ready = ring.available(this.#next, most - batch.count);
        if (ready === 0) break;
      }
      if (looksPlain(ring, position, direction)) {
        this.limits.set(batch, this.walker.stretch(direction), minimum);
        const left = Math.min(ready, room + 1 - segments.count);
        const plain = takePlain(ring, position, left, batch, this.limits, direction);
        ready -= plain;
        taken.outstanding += plain;
        this.#next.move(plain);
        bounded = segments.count > room;
        if (plain > 0) continue;
      }
      const used = this.#takeCarefully(batch, batch.count, minimum, direction);
      if (used === 0) break;
      batch.count += 1;
      most = Math.min(most, batch.count + size - taken.outstanding);
      // What is left of these descriptors may be more than there is room for.
      ready = Math.min(Math.max(0, ready - used), most - batch.count);
      bounded = segments.count > room || this.walker.walked > walkedLimit;
    }
    const { count } = batch;
    taken.took(batch.heads, count);
    this.truncated = bounded && count < most && !this.isEmpty();
    return count;
  }

  /**
   * Takes one chain of any form; returns its descriptors in the ring. 0 when it cannot be had: the
   * batch ends before it, and the next take comes to it first.
   */
  #takeCarefully(batch: PacketBatch, count: number, minimum: number, direction: number): number {
    const { segments } = batch;
    const before = segments.count;
    const walker = this.walker;
    this.fault = this.#walk(segments);
    const { bufferId, ringDescriptors } = walker;
    if (this.fault === undefined) {
      this.fault = walker.misfit(direction, minimum, bufferId);
      if (this.fault === undefined) {
        this.addWalked(batch, count, bufferId, direction);
        this.#taken.add(bufferId, ringDescriptors);
        this.#next.move(ringDescriptors);
        return ringDescriptors;
      }
      if (count === 0 && direction === 0 && !this.inOrder) {
        // The driver does not get it back: from now on it counts as outstanding.
        this.#taken.outstanding += ringDescriptors;
        this.#next.move(ringDescriptors);
      }
    }
    segments.count = before;
    return 0;
  }

  #walk(segments: SegmentList): VhostError | undefined {
    const walker = this.walker;
    return (
      walker.walk(this.#next.position, segments, MAX_SEGMENTS) ??
      this.#taken.refuse(walker.bufferId, walker.ringDescriptors)
    );
  }

  takeExchange(request: PacketBatch, answer: PacketBatch): number {
    const walker = this.walker;
    request.reset(this.ring.windows, 0);
    answer.reset(this.ring.windows, 0);
    this.#taken.took(request.heads, 0);
    this.fault = undefined;
    if (this.isEmpty()) return 0;
    walker.refresh();
    this.fault = this.#walk(request.segments);
    if (this.fault !== undefined) return 0;
    this.#taken.add(walker.bufferId, walker.ringDescriptors);
    this.#next.move(walker.ringDescriptors);
    splitExchange(request, answer, walker.bufferId, walker.readableBytes);
    this.#taken.took(request.heads, 1);
    return 1;
  }

  putBack(chains: number): void {
    this.#next.move(-this.#taken.putBack(chains));
  }

  completeReadable(heads: Uint32Array, first: number, count: number): void {
    if (this.inOrder) this.#used.batch(this.ring, heads, first, count);
    else this.#used.readable(this.ring, heads, first, count);
    this.#publish();
  }

  completeWritable(batch: PacketBatch): void {
    this.#log.buffers?.markFrames(batch);
    this.#used.writable(this.ring, batch);
    this.#publish();
  }

  #publish(): void {
    this.#notifications.moved += this.#used.publish(this.ring, this.#usedLog);
  }

  takeCallWanted(): boolean {
    const wanted = this.#notifications.takeCallWanted(this.ring, this.#used.at);
    return wanted || (this.features.notifyOnEmpty && this.isEmpty());
  }

  disableNotifications(): void {
    this.#notifications.disable(this.ring, this.#usedLog);
  }

  enableNotifications(seen = 0): boolean {
    const descriptors = this.#taken.returnedDescriptors(seen);
    this.#wanted.set(this.#next);
    this.#wanted.move(descriptors);
    this.#notifications.enableAt(this.ring, this.#wanted, this.#usedLog);
    return this.#isThere(this.#wanted, this.#taken.outstanding + descriptors);
  }

  requestKick(): void {
    this.#notifications.enable(this.ring, this.#usedLog);
  }

  isEmpty(): boolean {
    return !this.#isThere(this.#next, this.#taken.outstanding);
  }

  /** Whether a descriptor is available; with the whole ring taken none is, whatever its flags say. */
  #isThere(place: RingCursor, outstanding: number): boolean {
    return outstanding < this.size && this.ring.available(place, 1) > 0;
  }
}
