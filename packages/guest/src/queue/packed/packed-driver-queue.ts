/**
 * The driver's side of the packed virtqueue (virtio 1.2, 2.8).
 *
 * One ring of descriptors, which both sides read and write. The driver writes a chain into the next
 * entries, one after the other and around the ring's end; the device writes a used descriptor over
 * the first of as many entries as the chain had. A buffer id, which stands in a chain's last
 * descriptor, says which chain a used descriptor is about.
 *
 * Two flags tell whose turn an entry is. Each side goes round the ring with a wrap counter, which
 * starts at 1 and turns over at the ring's end. The driver makes an entry available by AVAIL = its
 * counter and USED = the opposite; the device makes it used by AVAIL = USED = its counter. So flags
 * from the round before never look like those of this one.
 *
 * Order is everything. A chain is there when its first descriptor's flags are, so those are written
 * last; here all chains since the last `publish` become visible with the first one's flags.
 *
 * Each side says in its event suppression area when it wants to hear of news: always, never, or, with
 * EVENT_IDX, once a certain position in the ring is passed.
 */
import { VhostError } from '@rxvhost/core';
import type { GuestMemoryArena } from '../../memory/guest-memory-arena.js';
import type { BufferList } from '../buffer-list.js';
import {
  bufferFlags,
  DESCRIPTOR_BYTES,
  DESCRIPTOR_INDIRECT,
  DESCRIPTOR_WRITE,
  DescriptorArray,
  writableBytes,
} from '../descriptor-array.js';
import { type DriverQueue, type DriverQueueOptions, NO_CHAIN } from '../driver-queue.js';
import { RingDriverQueue } from '../ring-driver-queue.js';
import { EventArea } from './event-area.js';
import {
  allocatePackedAreas,
  INITIAL_PACKED_BASE,
  MAX_PACKED_QUEUE_SIZE,
  PACKED_AVAILABLE,
  PACKED_USED,
} from './packed-layout.js';
import { RingPosition } from './ring-position.js';

/** {@link DriverQueue} over the packed layout. */
export class PackedDriverQueue extends RingDriverQueue implements DriverQueue {
  readonly initialBase = INITIAL_PACKED_BASE;
  readonly #ring: DescriptorArray;
  readonly #driverEvent: EventArea;
  readonly #deviceEvent: EventArea;

  /** Ids that no chain has; unused in order, where a chain's id is its first position. */
  readonly #freeIds: Uint16Array;
  #freeIdCount = 0;
  /** Where the next chain goes, and where the next used descriptor comes. */
  readonly #available: RingPosition;
  readonly #used: RingPosition;
  /** Where the last look at used chains ended. */
  readonly #seen: RingPosition;
  /** The first chain that the device does not see yet: its position, and its last word. */
  #hidden = 0;
  #hiddenWord = 0;
  #hiddenDescriptors = 0;

  /** Throws `EINVAL` for a size out of 1 … 32768, `ENOMEM` or `EFAULT` when the areas do not fit the arena. */
  constructor(arena: GuestMemoryArena, size: number, options: DriverQueueOptions = {}) {
    checkSize(size);
    const addresses = options.addresses ?? allocatePackedAreas(arena, size);
    super('packed', arena, size, addresses, options);
    this.#ring = new DescriptorArray(arena, this.addresses.descriptorTable, size);
    this.#driverEvent = new EventArea(arena, this.addresses.availableRing);
    this.#deviceEvent = new EventArea(arena, this.addresses.usedRing);
    this.#freeIds = new Uint16Array(size);
    this.#available = new RingPosition(size);
    this.#used = new RingPosition(size);
    this.#seen = new RingPosition(size);
    this.reset();
  }

  add(buffers: BufferList, indirect = false): number {
    const entries = this.entriesFor(buffers, indirect);
    if (entries === NO_CHAIN) return NO_CHAIN;
    const id = this.chains.inOrder
      ? this.#available.index
      : (this.#freeIds[--this.#freeIdCount] as number);
    if (indirect) this.#writeIndirect(id, buffers);
    else this.#writeDirect(id, buffers);
    this.chains.add(id, entries, writableBytes(buffers));
    return id;
  }

  publish(): boolean {
    const added = this.#hiddenDescriptors;
    if (added === 0) return false;
    this.#hiddenDescriptors = 0;
    Atomics.store(this.#ring.words, this.#hidden * 4 + 3, this.#hiddenWord);
    return this.#deviceEvent.wants(this.#available, added, this.eventIndex);
  }

  takeUsed(): number {
    if (this.batch > 0) return this.#takeBatched();
    if (this.fault !== undefined || !this.#isUsed(this.#used)) return NO_CHAIN;
    const id = this.#idAt(this.#used);
    if (this.chains.descriptorsOf(id) === 0) return this.fail(`used id ${id} is not outstanding`);
    this.usedLength = this.#ring.words[this.#used.index * 4 + 2] as number;
    if (this.chains.inOrder) {
      this.beginBatch(id);
      return this.#takeBatched();
    }
    this.#used.move(this.chains.remove(id));
    this.#freeIds[this.#freeIdCount] = id;
    this.#freeIdCount += 1;
    return id;
  }

  enableCallbacks(after = 0): boolean {
    let seen = this.#lookAtUsed(after);
    for (;;) {
      if (this.eventIndex) {
        // A chain has at least one descriptor: so many further on, no more than `after` are used.
        this.#seen.move(Math.min(Math.max(after - seen, 0), this.size - 1));
        this.#driverEvent.enableAt(this.#seen);
      } else {
        this.#driverEvent.enable();
      }
      const now = this.#lookAtUsed(after);
      if (now > after) return this.fault === undefined;
      // A chain used meanwhile may have passed the event before it was set.
      if (now === seen) return false;
      seen = now;
    }
  }

  disableCallbacks(): void {
    this.#driverEvent.disable();
  }

  reset(): void {
    this.#ring.words.fill(0);
    this.#driverEvent.clear();
    this.#deviceEvent.clear();
    this.forget();
    for (let index = 0; index < this.size; index += 1) this.#freeIds[index] = this.size - 1 - index;
    this.#freeIdCount = this.size;
    this.#available.reset();
    this.#used.reset();
    this.#hiddenDescriptors = 0;
  }

  #writeDirect(id: number, buffers: BufferList): void {
    const { addresses, lengths, count } = buffers;
    for (let index = 0; index < count; index += 1) {
      const flags = bufferFlags(buffers, index);
      this.#write(addresses[index] as number, lengths[index] as number, flags, id);
    }
  }

  /** Writes the chain into the id's table, in which only WRITE counts, and the one descriptor for it. */
  #writeIndirect(id: number, buffers: BufferList): void {
    const { addresses, lengths, count } = buffers;
    const first = id * this.tableEntries;
    for (let index = 0; index < count; index += 1) {
      const at = first + index;
      this.tables.setBuffer(at, addresses[index] as number, lengths[index] as number);
      this.tables.words[at * 4 + 3] = (bufferFlags(buffers, index) & DESCRIPTOR_WRITE) << 16;
    }
    const bytes = count * DESCRIPTOR_BYTES;
    this.#write(this.tables.addressOf(first), bytes, DESCRIPTOR_INDIRECT, id);
  }

  /** Writes the next entry; all of it, unless it is the first since the last `publish`. */
  #write(address: number, length: number, flags: number, id: number): void {
    const at = this.#available.index;
    const turn = this.#available.wrap === 1 ? PACKED_AVAILABLE : PACKED_USED;
    const word = id | ((flags | turn) << 16);
    this.#ring.setBuffer(at, address, length);
    if (this.#hiddenDescriptors === 0) {
      this.#hidden = at;
      this.#hiddenWord = word;
    } else {
      this.#ring.words[at * 4 + 3] = word;
    }
    this.#hiddenDescriptors += 1;
    this.#available.move(1);
  }

  #isUsed({ index, wrap }: RingPosition): boolean {
    const flags = Atomics.load(this.#ring.halves, index * 8 + 7);
    const available = (flags & PACKED_AVAILABLE) !== 0 ? 1 : 0;
    const used = (flags & PACKED_USED) !== 0 ? 1 : 0;
    return available === used && used === wrap;
  }

  /**
   * Counts used chains, until there are more than `after` or one is not used yet; `#seen` is then the
   * place behind them. One that is wrong counts for all: it will show when it is taken.
   */
  #lookAtUsed(after: number): number {
    const position = this.#seen;
    position.set(this.#used);
    let seen = 0;
    let known = this.batch > 0 ? this.batch : this.#chainsUsedAt(position, 0);
    for (; ; known = this.#chainsUsedAt(position, seen)) {
      if (known < 0) return after + 1;
      if (known === 0) return seen;
      for (; known > 0; known -= 1) {
        position.move(
          this.chains.descriptorsOf(
            this.chains.inOrder ? this.chains.idAt(seen) : this.#idAt(position),
          ),
        );
        seen += 1;
      }
      if (seen > after || seen === this.chains.count) return seen;
    }
  }

  /** Chains that the used descriptor here stands for, 0 when there is none, −1 when it is wrong. */
  #chainsUsedAt(position: RingPosition, seen: number): number {
    if (!this.#isUsed(position)) return 0;
    const id = this.#idAt(position);
    if (this.chains.descriptorsOf(id) === 0) return -1;
    return this.chains.inOrder ? this.chains.through(id, seen) || -1 : 1;
  }

  #idAt({ index }: RingPosition): number {
    return (this.#ring.words[index * 4 + 3] as number) & 0xffff;
  }

  #takeBatched(): number {
    const id = this.nextOfBatch();
    this.#used.move(this.chains.remove(id));
    return id;
  }
}

function checkSize(size: number): void {
  if (Number.isInteger(size) && size >= 1 && size <= MAX_PACKED_QUEUE_SIZE) return;
  throw new VhostError('EINVAL', `packed queue: size ${size} is not within 1 … 32768`);
}
