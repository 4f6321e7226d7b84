import type { DriverQueue, GuestMemoryArena } from '../../src/index.js';
import type { ModelBuffer, ModelChain, ModelDevice } from './model-device.js';

const u16 = (value: number) => value & 0xffff;

/** A place in a packed ring and how often the ring's end was passed. */
class Position {
  index = 0;
  wrap = true;

  constructor(readonly size: number) {}

  move(by: number): void {
    this.index += by;
    if (this.index < this.size) return;
    this.index -= this.size;
    this.wrap = !this.wrap;
  }
}

/** {@link ModelDevice} of virtio 1.2, 2.8. */
export class ModelPackedDevice implements ModelDevice {
  readonly #next: Position;
  readonly #used: Position;
  /** Descriptors used since the driver was last considered for a call. */
  #moved = 0;

  constructor(
    readonly arena: GuestMemoryArena,
    readonly queue: DriverQueue,
    readonly eventIndex: boolean,
  ) {
    this.#next = new Position(queue.size);
    this.#used = new Position(queue.size);
  }

  get waiting(): boolean {
    const flags = this.arena.readUint16(this.#ring(this.#next.index) + 14);
    return (
      ((flags & 0x80) !== 0) === this.#next.wrap && ((flags & 0x8000) !== 0) !== this.#next.wrap
    );
  }

  take(): ModelChain {
    const buffers: ModelBuffer[] = [];
    for (let descriptors = 1; ; descriptors += 1) {
      const at = this.#ring(this.#next.index);
      const flags = this.arena.readUint16(at + 14);
      if (!this.waiting) throw new Error('a chain with a descriptor that is not available');
      if ((flags & 4) !== 0) {
        if (descriptors !== 1 || (flags & 3) !== 0) throw new Error('bad indirect');
        const [table, bytes] = [this.#address(at), this.arena.readUint32(at + 8)];
        for (let entry = 0; entry < bytes; entry += 16) this.#buffer(table + entry, buffers);
      } else {
        this.#buffer(at, buffers);
      }
      this.#next.move(1);
      if ((flags & 1) === 0) {
        return { id: this.arena.readUint16(at + 12), descriptors, buffers };
      }
    }
  }

  complete(chain: ModelChain, written: number): boolean {
    return this.completeBatch([chain], written);
  }

  completeBatch(chains: readonly ModelChain[], written: number): boolean {
    const last = chains.at(-1);
    const at = this.#ring(this.#used.index);
    const turn = this.#used.wrap ? 0x8080 : 0;
    const wrote = last?.buffers.some(({ writable }) => writable) === true && written > 0;
    this.arena.writeUint32(at + 8, written);
    this.arena.writeUint16(at + 12, last?.id ?? 0);
    this.arena.writeUint16(at + 14, turn | (wrote ? 2 : 0));
    const moved = chains.reduce((sum, { descriptors }) => sum + descriptors, 0);
    this.#used.move(moved);
    this.#moved += moved;
    return this.#mustCall();
  }

  wantKicks(wanted: boolean): void {
    const area = this.queue.addresses.usedRing;
    if (wanted && this.eventIndex) {
      this.arena.writeUint16(area, this.#behindAll());
      this.arena.writeUint16(area + 2, 2);
    } else {
      this.arena.writeUint16(area + 2, wanted ? 0 : 1);
    }
  }

  /** Offset and wrap counter of the first entry that is not available. */
  #behindAll(): number {
    const { index, wrap } = this.#next;
    for (let seen = 0; seen < this.queue.size && this.waiting; seen += 1) this.#next.move(1);
    const event = this.#next.index | (this.#next.wrap ? 0x8000 : 0);
    this.#next.index = index;
    this.#next.wrap = wrap;
    return event;
  }

  #mustCall(): boolean {
    const area = this.queue.addresses.availableRing;
    const flags = this.arena.readUint16(area + 2);
    const moved = this.#moved;
    this.#moved = 0;
    if (flags !== 2 || !this.eventIndex) return flags !== 1;
    const event = this.arena.readUint16(area);
    const same = ((event & 0x8000) !== 0) === this.#used.wrap;
    const offset = (event & 0x7fff) - (same ? 0 : this.queue.size);
    return u16(this.#used.index - offset - 1) < moved;
  }

  #buffer(at: number, buffers: ModelBuffer[]): void {
    const length = this.arena.readUint32(at + 8);
    const writable = (this.arena.readUint16(at + 14) & 2) !== 0;
    buffers.push({ address: this.#address(at), length, writable });
  }

  #address(at: number): number {
    return Number(this.arena.readUint64(at));
  }

  #ring(index: number): number {
    return this.queue.addresses.descriptorTable + 16 * index;
  }
}
