import { DESCRIPTOR_NEXT, DESCRIPTOR_SIZE, DESCRIPTOR_WRITE } from '../virtqueue/descriptor.js';
import { PACKED_AVAILABLE } from '../virtqueue/packed/packed-layout.js';
import { NO_FEATURES, type RingAddresses } from '../virtqueue/virtqueue.js';

/** The layouts that a guest's ring may have (virtio 1.2, 2.7 and 2.8). */
export type RingLayout = 'split' | 'packed';

const ENTRIES = 2048;
const AVAILABLE = ENTRIES * DESCRIPTOR_SIZE;
const USED = AVAILABLE + 8192;
/** Bytes that a {@link FrameRing} needs. */
export const FRAME_RING_BYTES = 65_536;

/** A buffer in guest memory. */
export interface FrameBuffer {
  readonly address: number;
  readonly length: number;
}

/** A ring that is filled with chains once, for a virtqueue to take them, and then cleared. */
export class FrameRing {
  readonly size = ENTRIES;
  readonly features;
  readonly addresses: RingAddresses;
  readonly #view: DataView;
  #descriptors = 0;
  #chains = 0;

  /** @param address - of the ring's memory, as the device translates it */
  constructor(
    private readonly layout: RingLayout,
    private readonly bytes: Uint8Array,
    address: number,
  ) {
    this.features = { ...NO_FEATURES, packed: layout === 'packed' };
    this.addresses = {
      descriptorTable: address,
      availableRing: address + AVAILABLE,
      usedRing: address + USED,
    };
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  clear(): void {
    this.bytes.fill(0);
    this.#descriptors = 0;
    this.#chains = 0;
  }

  /** Makes a chain available. Throws when the ring is full. */
  add(buffers: readonly FrameBuffer[], writable: boolean): void {
    if (this.#descriptors + buffers.length > ENTRIES) throw new Error('too many segments');
    const first = this.#descriptors;
    const write = writable ? DESCRIPTOR_WRITE : 0;
    for (const [index, buffer] of buffers.entries()) {
      const flags = write | (index + 1 < buffers.length ? DESCRIPTOR_NEXT : 0);
      this.#write(first + index, buffer, flags);
    }
    this.#descriptors += buffers.length;
    this.#chains += 1;
    if (this.layout === 'packed') return;
    this.#view.setUint16(AVAILABLE + 2 + 2 * this.#chains, first, true);
    this.#view.setUint16(AVAILABLE + 2, this.#chains, true);
  }

  #write(entry: number, { address, length }: FrameBuffer, flags: number): void {
    const at = entry * DESCRIPTOR_SIZE;
    this.#view.setBigUint64(at, BigInt(address), true);
    this.#view.setUint32(at + 8, length, true);
    if (this.layout === 'split') {
      this.#view.setUint16(at + 12, flags, true);
      this.#view.setUint16(at + 14, entry + 1, true);
    } else {
      // Ids have nothing to do with places.
      this.#view.setUint16(at + 12, ENTRIES - 1 - this.#chains, true);
      this.#view.setUint16(at + 14, flags | PACKED_AVAILABLE, true);
    }
  }
}
