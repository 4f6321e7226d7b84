import type { GuestMemoryArena } from '../memory/guest-memory-arena.js';
import type { BufferList } from './buffer-list.js';

/** Bytes of one descriptor, in either ring layout: `addr` u64, `len` u32, and two u16 that differ. */
export const DESCRIPTOR_BYTES = 16;
/** Descriptor flags that both layouts have. */
export const DESCRIPTOR_NEXT = 1;
export const DESCRIPTOR_WRITE = 2;
export const DESCRIPTOR_INDIRECT = 4;

const WORD = 2 ** 32;

/** A row of descriptors in guest memory: a ring's own, or indirect tables. */
export class DescriptorArray {
  /** The descriptors as the widths in which they are written, from the first one's first byte on. */
  readonly words: Uint32Array;
  readonly halves: Uint16Array;

  /**
   * @param address - guest-physical; 0 with `count` 0
   * Throws `EFAULT` unless one region holds them all.
   */
  constructor(
    arena: GuestMemoryArena,
    readonly address: number,
    readonly count: number,
  ) {
    const { buffer, offset } =
      count === 0
        ? { buffer: new ArrayBuffer(0), offset: 0 }
        : arena.window(address, count * DESCRIPTOR_BYTES);
    this.words = new Uint32Array(buffer, offset, count * 4);
    this.halves = new Uint16Array(buffer, offset, count * 8);
  }

  /** Guest-physical address of descriptor `index`. */
  addressOf(index: number): number {
    return this.address + index * DESCRIPTOR_BYTES;
  }

  /** Writes address and length of descriptor `index`; its last four bytes are the layout's. */
  setBuffer(index: number, address: number, length: number): void {
    this.words[index * 4] = address;
    this.words[index * 4 + 1] = address / WORD;
    this.words[index * 4 + 2] = length;
  }
}

/** Flags of buffer `index` of a list: whether the device writes it, and whether more follow. */
export function bufferFlags({ count, readable }: BufferList, index: number): number {
  return (index < readable ? 0 : DESCRIPTOR_WRITE) | (index + 1 < count ? DESCRIPTOR_NEXT : 0);
}

/** Bytes of a list that the device may write. */
export function writableBytes({ count, readable, lengths }: BufferList): number {
  let bytes = 0;
  for (let index = readable; index < count; index += 1) bytes += lengths[index] as number;
  return bytes;
}
