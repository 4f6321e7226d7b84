import type { DriverQueue, GuestMemoryArena } from '../../src/index.js';
import type { ModelBuffer, ModelChain, ModelDevice } from './model-device.js';

const u16 = (value: number) => value & 0xffff;

/** {@link ModelDevice} of virtio 1.2, 2.7. */
export class ModelSplitDevice implements ModelDevice {
  #taken = 0;
  #used = 0;
  #calledAt = 0;
  #calledOnce = false;

  constructor(
    readonly arena: GuestMemoryArena,
    readonly queue: DriverQueue,
    readonly eventIndex: boolean,
  ) {}

  get #available(): number {
    return this.queue.addresses.availableRing;
  }

  get #usedRing(): number {
    return this.queue.addresses.usedRing;
  }

  get waiting(): boolean {
    return u16(this.arena.readUint16(this.#available + 2) - this.#taken) > 0;
  }

  take(): ModelChain {
    const slot = this.#taken % this.queue.size;
    const head = this.arena.readUint16(this.#available + 4 + 2 * slot);
    this.#taken = u16(this.#taken + 1);
    const buffers: ModelBuffer[] = [];
    const descriptors = this.#walk(this.queue.addresses.descriptorTable, head, buffers, true);
    return { id: head, descriptors, buffers };
  }

  complete(chain: ModelChain, written: number): boolean {
    return this.completeBatch([chain], written);
  }

  completeBatch(chains: readonly ModelChain[], written: number): boolean {
    const entry = this.#usedRing + 4 + 8 * (this.#used % this.queue.size);
    this.arena.writeUint32(entry, chains.at(-1)?.id ?? 0);
    this.arena.writeUint32(entry + 4, written);
    this.#used = u16(this.#used + chains.length);
    this.arena.writeUint16(this.#usedRing + 2, this.#used);
    return this.#mustCall();
  }

  wantKicks(wanted: boolean): void {
    if (!this.eventIndex) {
      this.arena.writeUint16(this.#usedRing, wanted ? 0 : 1);
      return;
    }
    const available = this.arena.readUint16(this.#available + 2);
    const event = wanted ? available : u16(available - 1);
    this.arena.writeUint16(this.#usedRing + 4 + 8 * this.queue.size, event);
  }

  #mustCall(): boolean {
    if (!this.eventIndex) return (this.arena.readUint16(this.#available) & 1) === 0;
    const event = this.arena.readUint16(this.#available + 4 + 2 * this.queue.size);
    const moved = u16(this.#used - this.#calledAt);
    const call = !this.#calledOnce || u16(this.#used - event - 1) < moved;
    this.#calledAt = this.#used;
    this.#calledOnce = true;
    return call;
  }

  #walk(table: number, first: number, buffers: ModelBuffer[], direct: boolean): number {
    let walked = 0;
    for (let index = first; ; ) {
      walked += 1;
      const at = table + 16 * index;
      const address = Number(this.arena.readUint64(at));
      const length = this.arena.readUint32(at + 8);
      const flags = this.arena.readUint16(at + 12);
      if ((flags & 4) !== 0) {
        if (!direct || (flags & 1) !== 0 || length % 16 !== 0) throw new Error('bad indirect');
        this.#walk(address, 0, buffers, false);
        return walked;
      }
      buffers.push({ address, length, writable: (flags & 2) !== 0 });
      if ((flags & 1) === 0) return walked;
      index = this.arena.readUint16(at + 14);
    }
  }
}
