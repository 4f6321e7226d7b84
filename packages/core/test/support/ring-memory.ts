import {
  ArrayBufferMapping,
  GuestMemory,
  type MemoryRegion,
  type RingAddresses,
  type VringAddresses,
} from '../../src/index.js';

export const GUEST_BASE = 0x10_0000;
export const USER_BASE = 0x7f00_0000_0000;
const TABLE = 0;
const AVAILABLE = 0x8000;
const USED = 0xa000;
const BUFFERS = 0x1_0000;

/** One descriptor as a test writes it. */
export interface RawDescriptor {
  /** Offset in the memory, or a whole address when `absolute`. */
  readonly at: number | bigint;
  readonly length: number;
  readonly flags?: number;
  readonly next?: number;
  readonly absolute?: boolean;
}

/** One mebibyte of guest memory with a split ring of raw fields in it: no driver, just stores. */
export class RingMemory {
  readonly buffer: ArrayBuffer;
  readonly view: DataView;
  readonly bytes: Uint8Array;
  readonly region: MemoryRegion;
  released = 0;

  constructor(
    readonly size: number,
    memorySize = 0x10_0000,
  ) {
    this.buffer = new ArrayBuffer(memorySize);
    this.view = new DataView(this.buffer);
    this.bytes = new Uint8Array(this.buffer);
    const mapping = new ArrayBufferMapping(this.buffer);
    mapping.release = () => {
      this.released += 1;
    };
    this.region = {
      guestAddress: GUEST_BASE,
      userAddress: USER_BASE,
      size: memorySize,
      mapping,
    };
  }

  get addresses(): RingAddresses & VringAddresses {
    return {
      descriptorTable: USER_BASE + TABLE,
      availableRing: USER_BASE + AVAILABLE,
      usedRing: USER_BASE + USED,
      logAddress: 0,
      flags: 0,
    };
  }

  /** Guest memory that holds just this region. */
  memory(): GuestMemory {
    const memory = new GuestMemory();
    memory.replace([this.region]);
    return memory;
  }

  /** Guest-physical address of an offset in the buffer area. */
  address(offset: number): number {
    return GUEST_BASE + BUFFERS + offset;
  }

  /** Bytes of the buffer area. */
  data(offset: number, length: number): Uint8Array {
    return this.bytes.subarray(BUFFERS + offset, BUFFERS + offset + length);
  }

  descriptor(index: number, raw: RawDescriptor): void {
    this.#write(TABLE + 16 * index, raw);
  }

  /** A descriptor of an indirect table that stands at `offset` of the buffer area. */
  indirect(offset: number, index: number, raw: RawDescriptor): void {
    this.#write(BUFFERS + offset + 16 * index, raw);
  }

  #write(position: number, { at, length, flags = 0, next = 0, absolute = false }: RawDescriptor) {
    const address = absolute ? BigInt(at) : BigInt(this.address(Number(at)));
    this.view.setBigUint64(position, address, true);
    this.view.setUint32(position + 8, length, true);
    this.view.setUint16(position + 12, flags, true);
    this.view.setUint16(position + 14, next, true);
  }

  get availableIndex(): number {
    return this.view.getUint16(AVAILABLE + 2, true);
  }

  set availableIndex(value: number) {
    this.view.setUint16(AVAILABLE + 2, value & 0xffff, true);
  }

  set availableFlags(value: number) {
    this.view.setUint16(AVAILABLE, value, true);
  }

  set usedEvent(value: number) {
    this.view.setUint16(AVAILABLE + 4 + 2 * this.size, value & 0xffff, true);
  }

  get availableEvent(): number {
    return this.view.getUint16(USED + 4 + 8 * this.size, true);
  }

  /** Makes heads available, in order. */
  offer(...heads: number[]): void {
    for (const head of heads) {
      const slot = this.availableIndex % this.size;
      this.view.setUint16(AVAILABLE + 4 + 2 * slot, head, true);
      this.availableIndex += 1;
    }
  }

  /** The head that was made available with number `index`. */
  availableHead(index: number): number {
    return this.view.getUint16(AVAILABLE + 4 + 2 * (index % this.size), true);
  }

  get usedFlags(): number {
    return this.view.getUint16(USED, true);
  }

  get usedIndex(): number {
    return this.view.getUint16(USED + 2, true);
  }

  set usedIndex(value: number) {
    this.view.setUint16(USED + 2, value & 0xffff, true);
  }

  set usedFlags(value: number) {
    this.view.setUint16(USED, value, true);
  }

  /** The used entry with number `index` (its slot is the number modulo the size). */
  used(index: number): { id: number; length: number } {
    const at = USED + 4 + 8 * ((index & 0xffff) % this.size);
    return { id: this.view.getUint32(at, true), length: this.view.getUint32(at + 4, true) };
  }
}
