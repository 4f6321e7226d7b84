import { VhostError } from '@rxvhost/core';
import type { GuestMemoryArena } from '../memory/guest-memory-arena.js';
import type { BufferList } from './buffer-list.js';
import { DESCRIPTOR_BYTES, DescriptorArray } from './descriptor-array.js';
import { type DriverQueueOptions, NO_CHAIN, type QueueAddresses } from './driver-queue.js';
import { OutstandingChains } from './outstanding-chains.js';

/**
 * What driver queues of both layouts have in common: the chains that the device has, a table for each
 * that is indirect, and the batches in which they come back where they do so in order.
 */
export abstract class RingDriverQueue {
  usedLength = 0;
  fault: VhostError | undefined;

  protected readonly chains: OutstandingChains;
  protected readonly eventIndex: boolean;
  /** Descriptors in each chain's table; the tables, one after the other by the chains' ids. */
  protected readonly tableEntries: number;
  protected readonly tables: DescriptorArray;
  /** In order: chains of the batch that one used entry stands for, and not yet given back. */
  protected batch = 0;
  #batchLength = 0;

  constructor(
    private readonly layout: 'packed' | 'split',
    arena: GuestMemoryArena,
    readonly size: number,
    readonly addresses: QueueAddresses,
    options: DriverQueueOptions,
  ) {
    this.eventIndex = options.eventIndex ?? false;
    this.tableEntries = options.indirectEntries ?? 0;
    const entries = size * this.tableEntries;
    const tables = entries === 0 ? 0 : arena.allocate(entries * DESCRIPTOR_BYTES);
    this.tables = new DescriptorArray(arena, tables, entries);
    this.chains = new OutstandingChains(size, options.inOrder ?? false);
  }

  get freeDescriptors(): number {
    return this.chains.freeDescriptors;
  }

  get outstanding(): number {
    return this.chains.count;
  }

  /** Entries of the ring that a chain takes, or `NO_CHAIN` when there are too few. Throws `EINVAL`. */
  protected entriesFor({ count }: BufferList, indirect: boolean): number {
    const limit = indirect ? this.tableEntries : this.size;
    if (count === 0 || count > limit) {
      throw new VhostError(
        'EINVAL',
        `${this.layout} queue: a chain of ${count} buffers, 1 to ${limit} fit`,
      );
    }
    const entries = indirect ? 1 : count;
    return entries > this.chains.freeDescriptors ? NO_CHAIN : entries;
  }

  /** The device has broken the rules: `what`. Returns `NO_CHAIN`. */
  protected fail(what: string): number {
    this.fault = new VhostError('EPROTO', `${this.layout} queue: ${what}`);
    return NO_CHAIN;
  }

  /** In order: the used entry read last names the last chain of a batch. */
  protected beginBatch(id: number): void {
    this.batch = this.chains.through(id);
    this.#batchLength = this.usedLength;
  }

  /**
   * In order: the oldest chain of the batch is used. The entry tells how much was written to the last
   * one; the others have been used whole (virtio 1.2, 2.7.7.1 and 2.8.7).
   */
  protected nextOfBatch(): number {
    this.batch -= 1;
    this.usedLength = this.batch === 0 ? this.#batchLength : this.chains.oldestWritable;
    return this.chains.oldest;
  }

  /** No chain is out, and nothing is wrong. */
  protected forget(): void {
    this.chains.clear();
    this.batch = 0;
    this.usedLength = 0;
    this.fault = undefined;
  }
}
