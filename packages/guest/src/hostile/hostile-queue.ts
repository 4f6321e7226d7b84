import type { GuestMemoryArena } from '../memory/guest-memory-arena.js';
import { DESCRIPTOR_BYTES, DESCRIPTOR_INDIRECT } from '../queue/descriptor-array.js';
import type { QueueAddresses } from '../queue/driver-queue.js';
import { allocateSplitAreas } from '../queue/split/split-layout.js';
import { type RawBuffer, writeRawDescriptor } from './raw-descriptor.js';

/** A descriptor as it stands in memory: any bits at all. */
export interface HostileDescriptor extends RawBuffer {
  /** 16 bits. */
  readonly flags: number;
  /** 16 bits. */
  readonly next: number;
}

/**
 * A split queue whose driver may write anything anywhere: every field of every area, without a check.
 * For tests of a device's side. Values are cut to their field's width.
 */
export class HostileQueue {
  readonly addresses: QueueAddresses;

  /** @param size - entries in the ring; not checked, so that a wrong size can be tried too */
  constructor(
    readonly arena: GuestMemoryArena,
    readonly size: number,
    addresses?: QueueAddresses,
  ) {
    this.addresses = addresses ?? allocateSplitAreas(arena, size);
  }

  /** Writes some or all fields of descriptor `index` of the ring's table. */
  setDescriptor(index: number, fields: Partial<HostileDescriptor>): void {
    writeDescriptor(this.arena, this.addresses.descriptorTable, index, fields);
  }

  /** Writes an indirect table at `table`, and descriptor `index` that refers to it. */
  setIndirect(index: number, table: number, entries: readonly HostileDescriptor[]): void {
    for (const [at, entry] of entries.entries()) writeDescriptor(this.arena, table, at, entry);
    const length = entries.length * DESCRIPTOR_BYTES;
    const address = BigInt(table);
    this.setDescriptor(index, { address, length, flags: DESCRIPTOR_INDIRECT, next: 0 });
  }

  get availableFlags(): number {
    return this.arena.readUint16(this.addresses.availableRing);
  }

  set availableFlags(value: number) {
    this.arena.writeUint16(this.addresses.availableRing, value);
  }

  get availableIndex(): number {
    return this.arena.readUint16(this.addresses.availableRing + 2);
  }

  set availableIndex(value: number) {
    this.arena.writeUint16(this.addresses.availableRing + 2, value);
  }

  /** Writes the entry that index `position` of the available ring falls on. */
  setAvailableEntry(position: number, head: number): void {
    this.arena.writeUint16(this.addresses.availableRing + 4 + 2 * (position % this.size), head);
  }

  /** The word behind the available ring, in which an EVENT_IDX driver says when to call it. */
  get usedEvent(): number {
    return this.arena.readUint16(this.addresses.availableRing + 4 + 2 * this.size);
  }

  set usedEvent(value: number) {
    this.arena.writeUint16(this.addresses.availableRing + 4 + 2 * this.size, value);
  }

  get usedFlags(): number {
    return this.arena.readUint16(this.addresses.usedRing);
  }

  set usedFlags(value: number) {
    this.arena.writeUint16(this.addresses.usedRing, value);
  }

  get usedIndex(): number {
    return this.arena.readUint16(this.addresses.usedRing + 2);
  }

  set usedIndex(value: number) {
    this.arena.writeUint16(this.addresses.usedRing + 2, value);
  }

  /** The entry that index `position` of the used ring falls on. */
  usedEntry(position: number): { id: number; length: number } {
    const at = this.addresses.usedRing + 4 + 8 * (position % this.size);
    return { id: this.arena.readUint32(at), length: this.arena.readUint32(at + 4) };
  }

  setUsedEntry(position: number, id: number, length: number): void {
    const at = this.addresses.usedRing + 4 + 8 * (position % this.size);
    this.arena.writeUint32(at, id);
    this.arena.writeUint32(at + 4, length);
  }

  /** The word behind the used ring, in which an EVENT_IDX device says when to kick it. */
  get availEvent(): number {
    return this.arena.readUint16(this.addresses.usedRing + 4 + 8 * this.size);
  }

  set availEvent(value: number) {
    this.arena.writeUint16(this.addresses.usedRing + 4 + 8 * this.size, value);
  }

  /** What an honest driver does: lists `heads` and moves the available index past them. */
  offer(...heads: number[]): void {
    let index = this.availableIndex;
    for (const head of heads) {
      this.setAvailableEntry(index, head);
      index += 1;
    }
    this.availableIndex = index;
  }
}

/** Writes some or all fields of entry `index` of a descriptor table, which may span regions. */
export function writeDescriptor(
  arena: GuestMemoryArena,
  table: number,
  index: number,
  fields: Partial<HostileDescriptor>,
): void {
  writeRawDescriptor(arena, table, index, fields, [fields.flags, fields.next]);
}
