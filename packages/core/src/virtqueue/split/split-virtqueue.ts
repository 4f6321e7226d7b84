import type { Translator } from '../../memory/translator.js';
import { tooFarAhead, unknownHead } from '../chain-faults.js';
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
import { SplitNotifications } from './split-notifications.js';
import { SplitRing } from './split-ring.js';
import { looksPlain, takePlain } from './take-plain.js';
import { UsedRingLog } from './used-ring-log.js';

const INDEX_MASK = 0xffff;

/**
 * The device's side of a split virtqueue (virtio 1.2, 2.7; seeds B1 to B7). See `split-layout.ts`
 * for the areas.
 *
 * Memory order: the available index is read with `Atomics` before the entries that it covers; used
 * entries are written before the used index is stored with `Atomics`; and an `Atomics` store stands
 * between whatever the driver must see and what is re-read to find out whether it has.
 */
export class SplitVirtqueue extends RingVirtqueue<SplitRing> implements Virtqueue {
  /** The available index that the next take begins at. */
  nextAvailable: number;
  /** The used index that the next publication begins at. */
  nextUsed: number;

  readonly #mask: number;
  readonly #notifications: SplitNotifications;
  #log: VirtqueueLog = NO_LOG;
  #usedLog: UsedRingLog | undefined;

  /**
   * Attaches to the ring: tells the driver to kick, and takes the used index from memory (A11).
   * @param nextAvailable - from SET_VRING_BASE; undefined: the used index
   */
  constructor(
    ring: SplitRing,
    features: RingFeatures,
    nextAvailable: number | undefined,
    log = NO_LOG,
  ) {
    super(ring, features);
    this.#mask = ring.size - 1;
    this.#notifications = new SplitNotifications(features);
    this.setLog(log);
    Atomics.store(ring.used, ring.usedFlags, 0);
    this.#usedLog?.flags();
    this.nextUsed = ring.loadUsedIndex();
    this.nextAvailable = nextAvailable ?? this.nextUsed;
  }

  get base(): number {
    return this.nextAvailable;
  }

  /** The ring as it is found in memory now. */
  get place(): SplitRing {
    return this.ring;
  }

  relocate(table: Translator, addresses: RingAddresses): void {
    this.moveTo(new SplitRing(table, addresses, this.size));
    this.setLog(this.#log);
  }

  setLog(log: VirtqueueLog): void {
    const { usedRing, usedRingAddress = this.ring.usedGuestAddress } = log;
    this.#log = log;
    this.#usedLog = usedRing && new UsedRingLog(usedRing, usedRingAddress, this.size);
  }

  protected take(
    batch: PacketBatch,
    limit: number,
    minimum: number,
    skip: number,
    direction: number,
  ): number {
    const ring = this.ring;
    batch.reset(ring.windows, skip);
    this.fault = undefined;
    this.truncated = false;
    const next = this.nextAvailable;
    const pending = (ring.loadAvailableIndex() - next) & INDEX_MASK;
    if (pending === 0) return 0;
    if (pending > this.size) {
      this.fault = tooFarAhead(pending, this.size);
      return 0;
    }
    const { segments } = batch;
    const most = Math.min(pending, limit, batch.capacity);
    const room = segmentRoom(batch);
    const walkedLimit = this.walker.walked + DESCRIPTORS_PER_TAKE;
    this.walker.refresh();
    while (batch.count < most && segments.count <= room && this.walker.walked <= walkedLimit) {
      const at = next + batch.count;
      if (looksPlain(ring, at, direction)) {
        this.limits.set(batch, this.walker.stretch(direction), minimum);
        const left = Math.min(most - batch.count, room + 1 - segments.count);
        if (takePlain(ring, at, left, batch, this.limits, direction) > 0) continue;
      }
      const head = ring.available[ring.availableFlags + 2 + (at & this.#mask)] as number;
      if (!this.#takeCarefully(batch, batch.count, head, minimum, direction)) break;
      batch.count += 1;
    }
    const { count } = batch;
    this.truncated = count < most && this.fault === undefined;
    if (count > 0) this.nextAvailable = (next + count) & INDEX_MASK;
    return count;
  }

  /**
   * Takes one chain of any form. False when it cannot be had: the batch ends before it, and the next
   * take comes to it first.
   */
  #takeCarefully(
    batch: PacketBatch,
    count: number,
    head: number,
    minimum: number,
    direction: number,
  ): boolean {
    const { segments } = batch;
    const before = segments.count;
    const walker = this.walker;
    this.fault =
      head >= this.size ? unknownHead(head, this.size) : walker.walk(head, segments, MAX_SEGMENTS);
    if (this.fault === undefined) {
      this.fault = walker.misfit(direction, minimum, head);
      if (this.fault === undefined) {
        this.addWalked(batch, count, head, direction);
        return true;
      }
      if (count === 0 && direction === 0 && !this.inOrder) {
        this.nextAvailable = (this.nextAvailable + 1) & INDEX_MASK;
      }
    }
    segments.count = before;
    return false;
  }

  takeExchange(request: PacketBatch, answer: PacketBatch): number {
    const ring = this.ring;
    request.reset(ring.windows, 0);
    answer.reset(ring.windows, 0);
    this.fault = undefined;
    this.walker.refresh();
    const pending = (ring.loadAvailableIndex() - this.nextAvailable) & INDEX_MASK;
    if (pending === 0) return 0;
    if (pending > this.size) {
      this.fault = tooFarAhead(pending, this.size);
      return 0;
    }
    const entry = ring.availableFlags + 2 + (this.nextAvailable & this.#mask);
    const head = ring.available[entry] as number;
    const walker = this.walker;
    this.fault =
      head >= this.size
        ? unknownHead(head, this.size)
        : walker.walk(head, request.segments, MAX_SEGMENTS);
    if (this.fault !== undefined) return 0;
    this.nextAvailable = (this.nextAvailable + 1) & INDEX_MASK;
    splitExchange(request, answer, head, walker.readableBytes);
    return 1;
  }

  putBack(chains: number): void {
    this.nextAvailable = (this.nextAvailable - chains) & INDEX_MASK;
  }

  completeReadable(heads: Uint32Array, first: number, count: number): void {
    const { usedWords, usedEntries } = this.ring;
    const mask = this.#mask;
    const next = this.nextUsed;
    if (this.inOrder && count > 1) {
      // One entry, in the first one's place, names the last; the driver knows the others.
      const at = usedEntries + ((next & mask) << 1);
      usedWords[at] = heads[first + count - 1] as number;
      usedWords[at + 1] = 0;
      this.#publish(count);
      return;
    }
    const end = (first + count) | 0;
    const entry = (next - first) | 0;
    for (let chain = first | 0; chain < end; chain = (chain + 1) | 0) {
      const at = (usedEntries + (((entry + chain) & mask) << 1)) | 0;
      usedWords[at] = heads[chain] as number;
      usedWords[(at + 1) | 0] = 0;
    }
    this.#publish(count);
  }

  completeWritable(batch: PacketBatch): void {
    this.#log.buffers?.markFrames(batch);
    const { usedWords, usedEntries } = this.ring;
    const { heads, lengths, frameLengths, frameChains, frameCount } = batch;
    const mask = this.#mask;
    const next = this.nextUsed;
    let chain = 0;
    for (let frame = 0; frame < frameCount; frame += 1) {
      if (frameChains[frame] === 1) {
        const written = this.#writeFrames(batch, frame, chain);
        frame += written;
        chain += written;
        if (frame === frameCount) break;
      }
      const end = chain + (frameChains[frame] as number);
      let left = (frameLengths[frame] as number) + batch.skip;
      for (; chain < end; chain += 1) {
        const written = Math.min(left, lengths[chain] as number);
        const at = usedEntries + (((next + chain) & mask) << 1);
        usedWords[at] = heads[chain] as number;
        usedWords[at + 1] = written;
        left -= written;
      }
    }
    this.#publish(chain);
  }

  /** The hot loop of receiving: used entries for frames of one chain each. Returns how many. */
  #writeFrames(batch: PacketBatch, frame: number, chain: number): number {
    const { usedWords, usedEntries } = this.ring;
    const { columns, lengthsAt } = batch;
    const mask = this.#mask;
    const used = this.nextUsed;
    const skip = batch.skip | 0;
    const frames = (batch.frameLengthsAt + frame - chain) | 0;
    const chains = (batch.frameChainsAt + frame - chain) | 0;
    const end = (chain + batch.frameCount - frame) | 0;
    let next = chain | 0;
    for (; next < end && columns[(chains + next) | 0] === 1; next = (next + 1) | 0) {
      const left = ((columns[(frames + next) | 0] as number) + skip) >>> 0;
      const room = (columns[(lengthsAt + next) | 0] as number) >>> 0;
      const at = (usedEntries + (((used + next) & mask) << 1)) | 0;
      usedWords[at] = columns[next] as number;
      usedWords[(at + 1) | 0] = left < room ? left : room;
    }
    return next - chain;
  }

  /** Makes `count` used entries visible: a store with release order, and a full barrier after it. */
  #publish(count: number): void {
    if (count === 0) return;
    const ring = this.ring;
    this.#usedLog?.entries(this.nextUsed, count);
    this.nextUsed = (this.nextUsed + count) & INDEX_MASK;
    Atomics.store(ring.used, ring.usedFlags + 1, this.nextUsed);
    this.#usedLog?.index();
  }

  takeCallWanted(): boolean {
    const wanted = this.#notifications.takeCallWanted(this.ring, this.nextUsed);
    return wanted || (this.features.notifyOnEmpty && this.isEmpty());
  }

  disableNotifications(): void {
    this.#notifications.disable(this.ring, this.#usedLog);
  }

  enableNotifications(seen = 0): boolean {
    const next = (this.nextAvailable + seen) & INDEX_MASK;
    this.#notifications.enableAt(this.ring, next, this.#usedLog);
    return this.ring.loadAvailableIndex() !== next;
  }

  requestKick(): void {
    this.enableNotifications((this.ring.loadAvailableIndex() - this.nextAvailable) & INDEX_MASK);
  }

  isEmpty(): boolean {
    return this.ring.loadAvailableIndex() === this.nextAvailable;
  }
}
