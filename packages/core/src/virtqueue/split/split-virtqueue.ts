import type { Translator } from '../../memory/translator.js';
import { tooFarAhead, unknownHead } from '../chain-faults.js';
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
import { SplitNotifications } from './split-notifications.js';
import { SplitRing } from './split-ring.js';
import { UsedRingLog } from './used-ring-log.js';

const INDEX_MASK = 0xffff;
const SPECIAL = DESCRIPTOR_NEXT | DESCRIPTOR_WRITE | DESCRIPTOR_INDIRECT;

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
    const { available, windows } = ring;
    const entries = ring.availableFlags + 2;
    const words = windows.words(ring.descriptorWindow);
    const aligned = (ring.descriptorOffset & 3) === 0;
    const table = ring.descriptorOffset >>> 2;
    const { heads, lengths, firstSegment, segments } = batch;
    const { window: segmentWindow, offset: segmentOffset, length: segmentLength } = segments;
    const mask = this.#mask;
    const most = Math.min(pending, limit, batch.capacity);
    const segmentRoom = segments.capacity - MAX_SEGMENTS;
    const walkedLimit = this.walker.walked + DESCRIPTORS_PER_TAKE;
    this.walker.refresh();
    let { start, end, window, offset } = this.walker.stretch(direction);
    let shift = start - offset;
    let segment = 0;
    let count = 0;
    while (count < most) {
      const head = available[entries + ((next + count) & mask)] as number;
      if (head <= mask && aligned) {
        const at = table + (head << 2);
        const flags = words[at + 3] as number;
        const length = words[at + 2] as number;
        const address = (words[at + 1] as number) * 0x1_0000_0000 + (words[at] as number);
        if (
          (flags & SPECIAL) === direction &&
          length >= minimum &&
          length !== 0 &&
          address >= start &&
          address + length <= end
        ) {
          segmentWindow[segment] = window;
          segmentOffset[segment] = address - shift;
          segmentLength[segment] = length;
          segment += 1;
          heads[count] = head;
          lengths[count] = length;
          count += 1;
          firstSegment[count] = segment;
          if (segment > segmentRoom) break;
          continue;
        }
      }
      segments.count = segment;
      if (!this.#takeCarefully(batch, count, head, minimum, direction)) break;
      count += 1;
      segment = segments.count;
      ({ start, end, window, offset } = this.walker.stretch(direction));
      shift = start - offset;
      if (segment > segmentRoom || this.walker.walked > walkedLimit) break;
    }
    segments.count = segment;
    batch.count = count;
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
    for (let chain = 0; chain < count; chain += 1) {
      const at = usedEntries + (((next + chain) & mask) << 1);
      usedWords[at] = heads[first + chain] as number;
      usedWords[at + 1] = 0;
    }
    this.#publish(count);
  }

  completeWritable(batch: PacketBatch): void {
    this.#log.buffers?.markFrames(batch);
    const { usedWords, usedEntries } = this.ring;
    const { heads, lengths, frameLengths, frameChains } = batch;
    const mask = this.#mask;
    const next = this.nextUsed;
    let chain = 0;
    for (let frame = 0; frame < batch.frameCount; frame += 1) {
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
