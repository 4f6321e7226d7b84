/**
 * The driver's side of the split virtqueue (virtio 1.2, 2.7).
 *
 * Three areas in guest memory. The *descriptor table* holds buffers: address, length, flags, and the
 * index of the next one in the chain. Only the driver writes it. In the *available ring* the driver
 * lists the heads of chains that the device may use; in the *used ring* the device lists the heads
 * that it has done with and how many bytes it wrote. Each ring's `idx` counts entries ever put there,
 * modulo 2^16; the entry's place is `idx` modulo the queue size.
 *
 * Order is everything. An entry is written before the `idx` that makes it visible; the reader loads
 * `idx` first. Both go through `Atomics`, as does every word that one side writes while the other
 * waits for it.
 *
 * Each side tells the other when it wants to hear of news. Without EVENT_IDX a flag says yes or no.
 * With it, `used_event` (behind the available ring) and `avail_event` (behind the used ring) name the
 * entry that is worth a notification, and the flags stay 0. A side that turns notifications on must
 * look at the ring once more behind a full barrier, for what came just before is not notified.
 */
import { VhostError } from '@rxvhost/core';
import type { GuestMemoryArena } from '../memory/guest-memory-arena.js';
import type { BufferList } from './buffer-list.js';
import { type DriverQueue, NO_CHAIN, type QueueAddresses } from './driver-queue.js';
import {
  AVAILABLE_NO_INTERRUPT,
  allocateSplitAreas,
  DESCRIPTOR_BYTES,
  DESCRIPTOR_INDIRECT,
  DESCRIPTOR_NEXT,
  DESCRIPTOR_WRITE,
  MAX_SPLIT_QUEUE_SIZE,
  splitAreaSizes,
  USED_NO_NOTIFY,
} from './split-layout.js';

/** How a {@link SplitDriverQueue} is made. */
export interface SplitDriverQueueOptions {
  /** EVENT_IDX was negotiated. */
  readonly eventIndex?: boolean;
  /** Descriptors in each chain's indirect table; 0, the default, for none (INDIRECT_DESC not negotiated). */
  readonly indirectEntries?: number;
  /** Where the ring lies; allocated from the arena by default. */
  readonly addresses?: QueueAddresses;
}

const INDEX_MASK = 0xffff;
const WORD = 2 ** 32;

/** {@link DriverQueue} over the split layout. */
export class SplitDriverQueue implements DriverQueue {
  readonly addresses: QueueAddresses;
  readonly #eventIndex: boolean;
  readonly #indirectEntries: number;
  readonly #indirectTables: number;

  /** The areas as the widths in which they are written; index 0 is the area's first byte. */
  readonly #descriptorWords: Uint32Array;
  readonly #descriptorHalves: Uint16Array;
  readonly #tableWords: Uint32Array;
  readonly #tableHalves: Uint16Array;
  readonly #available: Uint16Array;
  readonly #used: Uint16Array;
  readonly #usedWords: Uint32Array;

  /** Links free descriptors, and those of a chain. The device's copy is never read back. */
  readonly #next: Uint16Array;
  /** Descriptors in the chain that begins here; 0 when none does. */
  readonly #chainLength: Uint16Array;
  #firstFree = 0;
  #freeDescriptors = 0;
  #outstanding = 0;
  #availableIndex = 0;
  #published = 0;
  #usedIndex = 0;
  #usedSeen = 0;
  #usedLength = 0;
  #fault: VhostError | undefined;

  /**
   * Throws `EINVAL` for a size that is no power of two up to 32768, `ENOMEM` or `EFAULT` when the
   * areas do not fit the arena.
   */
  constructor(
    arena: GuestMemoryArena,
    readonly size: number,
    options: SplitDriverQueueOptions = {},
  ) {
    if (size < 1 || size > MAX_SPLIT_QUEUE_SIZE || (size & (size - 1)) !== 0) {
      throw new VhostError('EINVAL', `split queue: size ${size} is no power of two up to 32768`);
    }
    this.#eventIndex = options.eventIndex ?? false;
    this.#indirectEntries = options.indirectEntries ?? 0;
    this.addresses = options.addresses ?? allocateSplitAreas(arena, size);
    const bytes = splitAreaSizes(size);
    const table = arena.window(this.addresses.descriptorTable, bytes.descriptorTable);
    this.#descriptorWords = new Uint32Array(table.buffer, table.offset, size * 4);
    this.#descriptorHalves = new Uint16Array(table.buffer, table.offset, size * 8);
    const available = arena.window(this.addresses.availableRing, bytes.availableRing);
    this.#available = new Uint16Array(available.buffer, available.offset, size + 3);
    const used = arena.window(this.addresses.usedRing, bytes.usedRing);
    this.#used = new Uint16Array(used.buffer, used.offset, size * 4 + 3);
    this.#usedWords = new Uint32Array(used.buffer, used.offset, size * 2 + 1);
    const tables = size * this.#indirectEntries;
    this.#indirectTables = tables === 0 ? 0 : arena.allocate(tables * DESCRIPTOR_BYTES);
    const indirect =
      tables === 0 ? table : arena.window(this.#indirectTables, tables * DESCRIPTOR_BYTES);
    this.#tableWords = new Uint32Array(indirect.buffer, indirect.offset, tables * 4);
    this.#tableHalves = new Uint16Array(indirect.buffer, indirect.offset, tables * 8);
    this.#next = new Uint16Array(size);
    this.#chainLength = new Uint16Array(size);
    this.reset();
  }

  get freeDescriptors(): number {
    return this.#freeDescriptors;
  }

  get outstanding(): number {
    return this.#outstanding;
  }

  get usedLength(): number {
    return this.#usedLength;
  }

  get fault(): VhostError | undefined {
    return this.#fault;
  }

  add(buffers: BufferList, indirect = false): number {
    const count = buffers.count;
    const limit = indirect ? this.#indirectEntries : this.size;
    if (count === 0 || count > limit) {
      throw new VhostError('EINVAL', `split queue: a chain of ${count} buffers, 1 to ${limit} fit`);
    }
    const needed = indirect ? 1 : count;
    if (needed > this.#freeDescriptors) return NO_CHAIN;
    const head = this.#firstFree;
    this.#firstFree = indirect
      ? this.#writeIndirect(head, buffers)
      : this.#writeDirect(head, buffers);
    this.#freeDescriptors -= needed;
    this.#chainLength[head] = needed;
    this.#outstanding += 1;
    this.#available[2 + (this.#availableIndex & (this.size - 1))] = head;
    this.#availableIndex = (this.#availableIndex + 1) & INDEX_MASK;
    return head;
  }

  publish(): boolean {
    const before = this.#published;
    const now = this.#availableIndex;
    if (now === before) return false;
    Atomics.store(this.#available, 1, now);
    this.#published = now;
    if (this.#eventIndex) {
      const event = Atomics.load(this.#used, 2 + 4 * this.size);
      return ((now - event - 1) & INDEX_MASK) < ((now - before) & INDEX_MASK);
    }
    return (Atomics.load(this.#used, 0) & USED_NO_NOTIFY) === 0;
  }

  takeUsed(): number {
    if (this.#usedIndex === this.#usedSeen && !this.#lookForUsed()) return NO_CHAIN;
    const entry = 1 + 2 * (this.#usedIndex & (this.size - 1));
    const id = this.#usedWords[entry] as number;
    const length = id < this.size ? (this.#chainLength[id] as number) : 0;
    if (length === 0) return this.#fail(`used entry names ${id}, which is no outstanding chain`);
    this.#usedLength = this.#usedWords[entry + 1] as number;
    this.#usedIndex = (this.#usedIndex + 1) & INDEX_MASK;
    this.#free(id, length);
    return id;
  }

  enableCallbacks(after = 0): boolean {
    if (this.#eventIndex) {
      Atomics.store(this.#available, 2 + this.size, (this.#usedIndex + after) & INDEX_MASK);
    } else {
      Atomics.store(this.#available, 0, 0);
    }
    if (this.#fault !== undefined) return false;
    return ((Atomics.load(this.#used, 1) - this.#usedIndex) & INDEX_MASK) > after;
  }

  disableCallbacks(): void {
    // With EVENT_IDX the flag must stay 0; an event index just behind us is as far away as can be.
    if (this.#eventIndex) {
      Atomics.store(this.#available, 2 + this.size, (this.#usedIndex - 1) & INDEX_MASK);
    } else {
      Atomics.store(this.#available, 0, AVAILABLE_NO_INTERRUPT);
    }
  }

  reset(): void {
    this.#descriptorWords.fill(0);
    this.#available.fill(0);
    this.#used.fill(0);
    for (let index = 0; index < this.size; index += 1) this.#next[index] = index + 1;
    this.#chainLength.fill(0);
    this.#firstFree = 0;
    this.#freeDescriptors = this.size;
    this.#outstanding = 0;
    this.#availableIndex = 0;
    this.#published = 0;
    this.#usedIndex = 0;
    this.#usedSeen = 0;
    this.#usedLength = 0;
    this.#fault = undefined;
  }

  /** Writes the chain into ring descriptors; returns the first one that is free after it. */
  #writeDirect(head: number, buffers: BufferList): number {
    const { count, readable } = buffers;
    let at = head;
    for (let index = 0; index < count; index += 1) {
      const next = this.#next[at] as number;
      const flags =
        (index < readable ? 0 : DESCRIPTOR_WRITE) | (index + 1 < count ? DESCRIPTOR_NEXT : 0);
      writeBuffer(this.#descriptorWords, this.#descriptorHalves, at, buffers, index, flags, next);
      at = next;
    }
    return at;
  }

  /** Writes the chain into the head's table and the one descriptor that refers to it. */
  #writeIndirect(head: number, buffers: BufferList): number {
    const { count, readable } = buffers;
    const first = head * this.#indirectEntries;
    for (let index = 0; index < count; index += 1) {
      const more = index + 1 < count;
      const flags = (index < readable ? 0 : DESCRIPTOR_WRITE) | (more ? DESCRIPTOR_NEXT : 0);
      const next = more ? index + 1 : 0;
      writeBuffer(this.#tableWords, this.#tableHalves, first + index, buffers, index, flags, next);
    }
    const address = this.#indirectTables + first * DESCRIPTOR_BYTES;
    this.#descriptorWords[head * 4] = address;
    this.#descriptorWords[head * 4 + 1] = address / WORD;
    this.#descriptorWords[head * 4 + 2] = count * DESCRIPTOR_BYTES;
    this.#descriptorHalves[head * 8 + 6] = DESCRIPTOR_INDIRECT;
    this.#descriptorHalves[head * 8 + 7] = 0;
    return this.#next[head] as number;
  }

  #lookForUsed(): boolean {
    if (this.#fault !== undefined) return false;
    const seen = Atomics.load(this.#used, 1);
    const news = (seen - this.#usedIndex) & INDEX_MASK;
    if (news === 0) return false;
    if (news > this.#outstanding) {
      this.#fail(`used index moved by ${news} with ${this.#outstanding} chains outstanding`);
      return false;
    }
    this.#usedSeen = seen;
    return true;
  }

  #free(head: number, length: number): void {
    let last = head;
    for (let index = 1; index < length; index += 1) last = this.#next[last] as number;
    this.#next[last] = this.#firstFree;
    this.#firstFree = head;
    this.#chainLength[head] = 0;
    this.#freeDescriptors += length;
    this.#outstanding -= 1;
  }

  #fail(what: string): number {
    this.#fault = new VhostError('EPROTO', `split queue: ${what}`);
    this.#usedSeen = this.#usedIndex;
    return NO_CHAIN;
  }
}

function writeBuffer(
  words: Uint32Array,
  halves: Uint16Array,
  at: number,
  buffers: BufferList,
  index: number,
  flags: number,
  next: number,
): void {
  const address = buffers.addresses[index] as number;
  words[at * 4] = address;
  words[at * 4 + 1] = address / WORD;
  words[at * 4 + 2] = buffers.lengths[index] as number;
  halves[at * 8 + 6] = flags;
  halves[at * 8 + 7] = (flags & DESCRIPTOR_NEXT) === 0 ? 0 : next;
}
