import type { GuestMemoryArena } from '../memory/guest-memory-arena.js';
import { DESCRIPTOR_BYTES } from '../queue/descriptor-array.js';
import type { QueueAddresses } from '../queue/driver-queue.js';
import {
  allocatePackedAreas,
  PACKED_AVAILABLE,
  PACKED_USED,
  WRAP_BIT,
} from '../queue/packed/packed-layout.js';
import { type RawBuffer, writeRawDescriptor } from './raw-descriptor.js';

/** A descriptor of a packed ring as it stands in memory: any bits at all. */
export interface HostilePackedDescriptor extends RawBuffer {
  /** 16 bits. */
  readonly id: number;
  /** 16 bits; {@link HostilePackedQueue.turn} gives the two that make it available. */
  readonly flags: number;
}

/** A packed queue whose driver may write anything anywhere; see {@link HostileQueue}. */
export class HostilePackedQueue {
  readonly addresses: QueueAddresses;

  /** @param size - entries in the ring; not checked, so that a wrong size can be tried too */
  constructor(
    readonly arena: GuestMemoryArena,
    readonly size: number,
    addresses?: QueueAddresses,
  ) {
    this.addresses = addresses ?? allocatePackedAreas(arena, size);
  }

  /**
   * The flags that make a descriptor available `steps` entries behind a base.
   * @param base - as the device tells it: the next position in bits 0 to 14, its wrap counter in bit 15
   */
  turn(base: number, steps: number): number {
    const laps = Math.floor(((base & (WRAP_BIT - 1)) + steps) / this.size);
    const first = (base & WRAP_BIT) !== 0;
    return first === (laps % 2 === 0) ? PACKED_AVAILABLE : PACKED_USED;
  }

  /** The entry `steps` behind a base. */
  position(base: number, steps: number): number {
    return ((base & (WRAP_BIT - 1)) + steps) % this.size;
  }

  /** Writes some or all fields of an entry of the ring. */
  setDescriptor(position: number, fields: Partial<HostilePackedDescriptor>): void {
    writePackedDescriptor(this.arena, this.addresses.descriptorTable, position, fields);
  }

  /** The driver's event suppression: offset and wrap counter below, flags above. */
  set driverEvent(word: number) {
    this.arena.writeUint32(this.addresses.availableRing, word);
  }

  /** The device's event suppression, which is not the driver's to write. */
  set deviceEvent(word: number) {
    this.arena.writeUint32(this.addresses.usedRing, word);
  }

  /** Zeroed memory, as a driver leaves it that has reset its queue. */
  clear(): void {
    this.arena.bytes(this.addresses.descriptorTable, this.size * DESCRIPTOR_BYTES).fill(0);
    this.driverEvent = 0;
    this.deviceEvent = 0;
  }
}

/** Writes some or all fields of entry `index` of a ring or an indirect table, which may span regions. */
export function writePackedDescriptor(
  arena: GuestMemoryArena,
  table: number,
  index: number,
  fields: Partial<HostilePackedDescriptor>,
): void {
  writeRawDescriptor(arena, table, index, fields, [fields.id, fields.flags]);
}
