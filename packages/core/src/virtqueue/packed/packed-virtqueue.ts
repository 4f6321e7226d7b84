import type { VhostError } from '../../errors/vhost-error.js';
import type { SegmentList } from '../../memory/segment-list.js';
import type { Translator } from '../../memory/translator.js';
import { DESCRIPTOR_INDIRECT, DESCRIPTOR_NEXT, DESCRIPTOR_WRITE } from '../descriptor.js';
import { splitExchange } from '../exchange.js';
import { MAX_SEGMENTS, type PacketBatch } from '../packet-batch.js';
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
import { TakenChains } from './taken-chains.js';

/** A descriptor's last word: the id below, the flags above. */
const SPECIAL = (DESCRIPTOR_NEXT | DESCRIPTOR_WRITE | DESCRIPTOR_INDIRECT) << 16;

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
    this.#taken =
      before instanceof PackedVirtqueue && before.size === this.size
        ? before.#taken
        : new TakenChains(this.size, outstandingIn(base, this.size));
    this.#used = new PackedUsed(this.#taken, used);
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
   * A descriptor's flags are read twice, to see that it is available and to see what it is: each answer
   * is used for that alone (T38).
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
    const { words, first } = ring;
    const { heads, lengths, firstSegment, segments } = batch;
    const { window: segmentWindow, offset: segmentOffset, length: segmentLength } = segments;
    const wanted = direction << 16;
    const segmentRoom = segments.capacity - MAX_SEGMENTS;
    const walkedLimit = this.walker.walked + DESCRIPTORS_PER_TAKE;
    this.walker.refresh();
    let { start, end, window, offset } = this.walker.stretch(direction);
    let shift = start - offset;
    // Words of descriptors that are available, up to the ring's end: read so far, now, and to be read.
    let begun = 0;
    let at = 0;
    let last = 0;
    let segment = 0;
    let count = 0;
    let bounded = false;
    while (!bounded) {
      if (at >= last) {
        this.#passPlain((at - begun) >>> 2);
        begun = at;
        const ready = ring.available(this.#next, most - count);
        if (ready === 0) break;
        const { position } = this.#next;
        begun = first + 4 * position;
        at = begun;
        last = at + 4 * Math.min(ready, size - position);
      }
      const word = words[at + 3] as number;
      const length = words[at + 2] as number;
      const address = (words[at + 1] as number) * 0x1_0000_0000 + (words[at] as number);
      const id = word & 0xffff;
      if (
        (word & SPECIAL) === wanted &&
        length >= minimum &&
        length !== 0 &&
        address >= start &&
        address + length <= end &&
        id < size
      ) {
        segmentWindow[segment] = window;
        segmentOffset[segment] = address - shift;
        segmentLength[segment] = length;
        segment += 1;
        heads[count] = id;
        lengths[count] = length;
        count += 1;
        firstSegment[count] = segment;
        at += 4;
        bounded = segment > segmentRoom;
        continue;
      }
      segments.count = segment;
      this.#passPlain((at - begun) >>> 2);
      begun = at;
      const used = this.#takeCarefully(batch, count, minimum, direction);
      if (used === 0) break;
      at = Math.min(at + 4 * used, last);
      begun = at;
      count += 1;
      most = Math.min(most, count + size - taken.outstanding);
      // What is left of these descriptors may be more than there is room for.
      last = Math.min(last, at + 4 * (most - count));
      segment = segments.count;
      ({ start, end, window, offset } = this.walker.stretch(direction));
      shift = start - offset;
      bounded = segment > segmentRoom || this.walker.walked > walkedLimit;
    }
    this.#passPlain((at - begun) >>> 2);
    taken.took(heads, count);
    segments.count = segment;
    batch.count = count;
    this.truncated = bounded && count < most && !this.isEmpty();
    return count;
  }

  /** Goes on past chains of one descriptor each. */
  #passPlain(chains: number): void {
    this.#taken.outstanding += chains;
    this.#next.move(chains);
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
