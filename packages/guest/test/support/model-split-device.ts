/**
 * The device's side of a split queue, written from virtio 1.2, 2.7 for these tests alone: slow, plain,
 * and without a line of `@rxvhost/core`, so that driver and device are not wrong in the same way.
 */
import type { DriverQueue, GuestMemoryArena } from '../../src/index.js';

export interface ModelBuffer {
  readonly address: number;
  readonly length: number;
  readonly writable: boolean;
}

export interface ModelChain {
  readonly head: number;
  readonly buffers: readonly ModelBuffer[];
}

const u16 = (value: number) => value & 0xffff;

export class ModelSplitDevice {
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

  /** Chains that the driver has published and the device has not taken. */
  get waiting(): number {
    return u16(this.arena.readUint16(this.#available + 2) - this.#taken);
  }

  take(): ModelChain {
    const slot = this.#taken % this.queue.size;
    const head = this.arena.readUint16(this.#available + 4 + 2 * slot);
    this.#taken = u16(this.#taken + 1);
    const buffers: ModelBuffer[] = [];
    this.#walk(this.queue.addresses.descriptorTable, head, buffers, true);
    return { head, buffers };
  }

  /** Publishes one used entry. True when the driver must be called. */
  complete(head: number, written: number): boolean {
    const entry = this.#usedRing + 4 + 8 * (this.#used % this.queue.size);
    this.arena.writeUint32(entry, head);
    this.arena.writeUint32(entry + 4, written);
    this.#used = u16(this.#used + 1);
    this.arena.writeUint16(this.#usedRing + 2, this.#used);
    return this.#mustCall();
  }

  /** Asks to be kicked for the next chain that becomes available, or for none. */
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

  #walk(table: number, first: number, buffers: ModelBuffer[], direct: boolean): void {
    for (let index = first; ; ) {
      const at = table + 16 * index;
      const address = Number(this.arena.readUint64(at));
      const length = this.arena.readUint32(at + 8);
      const flags = this.arena.readUint16(at + 12);
      if ((flags & 4) !== 0) {
        if (!direct || (flags & 1) !== 0 || length % 16 !== 0) throw new Error('bad indirect');
        this.#walk(address, 0, buffers, false);
        return;
      }
      buffers.push({ address, length, writable: (flags & 2) !== 0 });
      if ((flags & 1) === 0) return;
      index = this.arena.readUint16(at + 14);
    }
  }
}
