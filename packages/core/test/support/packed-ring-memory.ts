import { type RawDescriptor, RingMemory } from './ring-memory.js';

const DRIVER_EVENT = 0x8000;
const DEVICE_EVENT = 0xa000;
const AVAILABLE = 0x80;
const USED = 0x8000;

/** A descriptor of a packed ring as a test writes it. */
export interface PackedDescriptor extends Omit<RawDescriptor, 'next'> {
  readonly id?: number;
}

/** Guest memory with a packed ring of raw fields in it, where a split ring's areas would be. */
export class PackedRingMemory extends RingMemory {
  /** Where the next chain goes. */
  position = 0;
  wrap: 0 | 1 = 1;

  /** Makes a chain available: its flags as the layout wants them, those of its head last. */
  chain(id: number, ...descriptors: PackedDescriptor[]): void {
    for (const [index, raw] of descriptors.entries()) {
      const last = index + 1 === descriptors.length;
      const turn = this.wrap === 1 ? AVAILABLE : USED;
      const flags = (raw.flags ?? 0) | (last ? 0 : 1) | turn;
      this.entry(this.position, { ...raw, id: raw.id ?? id, flags });
      this.move(1);
    }
  }

  move(by: number): void {
    this.position += by;
    if (this.position < this.size) return;
    this.position -= this.size;
    this.wrap = this.wrap === 1 ? 0 : 1;
  }

  /** Writes one entry of the ring, flags and all. */
  entry(position: number, { id = 0, flags = 0, ...raw }: PackedDescriptor): void {
    this.descriptor(position, { ...raw, flags: id, next: flags });
  }

  /** Writes one entry of an indirect table that stands at `offset` of the buffer area. */
  tableEntry(offset: number, index: number, { id = 0, flags = 0, ...raw }: PackedDescriptor): void {
    this.indirect(offset, index, { ...raw, flags: id, next: flags });
  }

  /** What stands in an entry now. */
  at(position: number): { id: number; length: number; flags: number } {
    const at = 16 * position;
    return {
      length: this.view.getUint32(at + 8, true),
      id: this.view.getUint16(at + 12, true),
      flags: this.view.getUint16(at + 14, true),
    };
  }

  /** The driver's event suppression: flags, and the place that they may speak of. */
  set driverEvent({ flags, at = 0, wrap = 0 }: { flags: number; at?: number; wrap?: number }) {
    this.view.setUint16(DRIVER_EVENT, at | (wrap << 15), true);
    this.view.setUint16(DRIVER_EVENT + 2, flags, true);
  }

  /** The device's event suppression. */
  get deviceEvent(): { flags: number; at: number; wrap: number } {
    const place = this.view.getUint16(DEVICE_EVENT, true);
    const flags = this.view.getUint16(DEVICE_EVENT + 2, true);
    return { flags, at: place & 0x7fff, wrap: place >>> 15 };
  }
}
