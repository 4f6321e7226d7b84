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
import type { GuestMemoryArena } from '../../memory/guest-memory-arena.js';
import type { BufferList } from '../buffer-list.js';
import {
  bufferFlags,
  DESCRIPTOR_BYTES,
  DESCRIPTOR_INDIRECT,
  DESCRIPTOR_NEXT,
  DescriptorArray,
  writableBytes,
} from '../descriptor-array.js';
import { type DriverQueue, type DriverQueueOptions, NO_CHAIN } from '../driver-queue.js';
import { RingDriverQueue } from '../ring-driver-queue.js';
import {
  AVAILABLE_NO_INTERRUPT,
  allocateSplitAreas,
  MAX_SPLIT_QUEUE_SIZE,
  splitAreaSizes,
  USED_NO_NOTIFY,
} from './split-layout.js';

const INDEX_MASK = 0xffff;

/** {@link DriverQueue} over the split layout. */
export class SplitDriverQueue extends RingDriverQueue implements DriverQueue {
  readonly initialBase = 0;
  readonly #descriptors: DescriptorArray;
  /** The rings as the widths in which they are written; index 0 is the area's first byte. */
  readonly #available: Uint16Array;
  readonly #used: Uint16Array;
  readonly #usedWords: Uint32Array;

  /** Links free descriptors, and those of a chain. The device's copy is never read back. */
  readonly #next: Uint16Array;
  #firstFree = 0;
  #availableIndex = 0;
  #published = 0;
  #usedIndex = 0;
  #usedSeen = 0;

  /**
   * Throws `EINVAL` for a size that is no power of two up to 32768, `ENOMEM` or `EFAULT` when the
   * areas do not fit the arena.
   */
  constructor(arena: GuestMemoryArena, size: number, options: DriverQueueOptions = {}) {
    checkSize(size);
    const addresses = options.addresses ?? allocateSplitAreas(arena, size);
    super('split', arena, size, addresses, options);
    const bytes = splitAreaSizes(size);
    this.#descriptors = new DescriptorArray(arena, this.addresses.descriptorTable, size);
    const available = arena.window(this.addresses.availableRing, bytes.availableRing);
    this.#available = new Uint16Array(available.buffer, available.offset, size + 3);
    const used = arena.window(this.addresses.usedRing, bytes.usedRing);
    this.#used = new Uint16Array(used.buffer, used.offset, size * 4 + 3);
    this.#usedWords = new Uint32Array(used.buffer, used.offset, size * 2 + 1);
    this.#next = new Uint16Array(size);
    this.reset();
  }

  add(buffers: BufferList, indirect = false): number {
    const entries = this.entriesFor(buffers, indirect);
    if (entries === NO_CHAIN) return NO_CHAIN;
    const head = this.#firstFree;
    this.#firstFree = indirect
      ? this.#writeIndirect(head, buffers)
      : this.#writeDirect(head, buffers);
    this.chains.add(head, entries, writableBytes(buffers));
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
    if (this.eventIndex) {
      const event = Atomics.load(this.#used, 2 + 4 * this.size);
      return ((now - event - 1) & INDEX_MASK) < ((now - before) & INDEX_MASK);
    }
    return (Atomics.load(this.#used, 0) & USED_NO_NOTIFY) === 0;
  }

  takeUsed(): number {
    if (this.batch > 0) return this.#takeBatched();
    if (this.#usedIndex === this.#usedSeen && !this.#lookForUsed()) return NO_CHAIN;
    const entry = 1 + 2 * (this.#usedIndex & (this.size - 1));
    const id = this.#usedWords[entry] as number;
    if (this.chains.descriptorsOf(id) === 0) {
      return this.fail(`used entry names ${id}, which is no outstanding chain`);
    }
    this.usedLength = this.#usedWords[entry + 1] as number;
    if (this.chains.inOrder) {
      this.beginBatch(id);
      return this.#takeBatched();
    }
    this.#usedIndex = (this.#usedIndex + 1) & INDEX_MASK;
    this.#free(id);
    return id;
  }

  enableCallbacks(after = 0): boolean {
    if (this.eventIndex) {
      Atomics.store(this.#available, 2 + this.size, (this.#usedIndex + after) & INDEX_MASK);
    } else {
      Atomics.store(this.#available, 0, 0);
    }
    if (this.fault !== undefined) return false;
    return ((Atomics.load(this.#used, 1) - this.#usedIndex) & INDEX_MASK) > after;
  }

  disableCallbacks(): void {
    // With EVENT_IDX the flag must stay 0; an event index just behind us is as far away as can be.
    if (this.eventIndex) {
      Atomics.store(this.#available, 2 + this.size, (this.#usedIndex - 1) & INDEX_MASK);
    } else {
      Atomics.store(this.#available, 0, AVAILABLE_NO_INTERRUPT);
    }
  }

  reset(): void {
    this.#descriptors.words.fill(0);
    this.#available.fill(0);
    this.#used.fill(0);
    for (let index = 0; index < this.size; index += 1) {
      this.#next[index] = index + 1 === this.size ? 0 : index + 1;
    }
    this.forget();
    this.#firstFree = 0;
    this.#availableIndex = 0;
    this.#published = 0;
    this.#usedIndex = 0;
    this.#usedSeen = 0;
  }

  /** Writes the chain into ring descriptors; returns the first one that is free after it. */
  #writeDirect(head: number, buffers: BufferList): number {
    let at = head;
    for (let index = 0; index < buffers.count; index += 1) {
      const next = this.#next[at] as number;
      writeBuffer(this.#descriptors, at, buffers, index, next);
      at = next;
    }
    return at;
  }

  /** Writes the chain into the head's table and the one descriptor that refers to it. */
  #writeIndirect(head: number, buffers: BufferList): number {
    const first = head * this.tableEntries;
    for (let index = 0; index < buffers.count; index += 1) {
      writeBuffer(this.tables, first + index, buffers, index, index + 1);
    }
    const bytes = buffers.count * DESCRIPTOR_BYTES;
    this.#descriptors.setBuffer(head, this.tables.addressOf(first), bytes);
    this.#descriptors.halves[head * 8 + 6] = DESCRIPTOR_INDIRECT;
    this.#descriptors.halves[head * 8 + 7] = 0;
    return this.#next[head] as number;
  }

  #lookForUsed(): boolean {
    if (this.fault !== undefined) return false;
    const seen = Atomics.load(this.#used, 1);
    const news = (seen - this.#usedIndex) & INDEX_MASK;
    if (news === 0) return false;
    if (news > this.chains.count) {
      this.fail(`used index moved by ${news} with ${this.chains.count} chains outstanding`);
      return false;
    }
    this.#usedSeen = seen;
    return true;
  }

  #takeBatched(): number {
    if (this.batch > ((this.#usedSeen - this.#usedIndex) & INDEX_MASK)) {
      return this.fail(`used entry for ${this.batch} chains, more than the used index covers`);
    }
    const id = this.nextOfBatch();
    this.#usedIndex = (this.#usedIndex + 1) & INDEX_MASK;
    this.#free(id);
    return id;
  }

  /** In order the descriptors stay linked in the order of the ring, as they are then used again. */
  #free(head: number): void {
    const length = this.chains.remove(head);
    if (this.chains.inOrder) return;
    let last = head;
    for (let index = 1; index < length; index += 1) last = this.#next[last] as number;
    this.#next[last] = this.#firstFree;
    this.#firstFree = head;
  }

  /** What there is in the ring is not looked at any more. */
  protected override fail(what: string): number {
    this.#usedSeen = this.#usedIndex;
    this.batch = 0;
    return super.fail(what);
  }
}

function checkSize(size: number): void {
  if (size >= 1 && size <= MAX_SPLIT_QUEUE_SIZE && (size & (size - 1)) === 0) return;
  throw new VhostError('EINVAL', `split queue: size ${size} is no power of two up to 32768`);
}

function writeBuffer(
  descriptors: DescriptorArray,
  at: number,
  buffers: BufferList,
  index: number,
  next: number,
): void {
  const flags = bufferFlags(buffers, index);
  descriptors.setBuffer(at, buffers.addresses[index] as number, buffers.lengths[index] as number);
  descriptors.halves[at * 8 + 6] = flags;
  descriptors.halves[at * 8 + 7] = (flags & DESCRIPTOR_NEXT) === 0 ? 0 : next;
}
