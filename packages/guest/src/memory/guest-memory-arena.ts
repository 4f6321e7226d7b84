import {
  checkRegion,
  type MemoryRegion,
  regionWindow,
  VhostError,
  WINDOW_STRIDE,
} from '@rxvhost/core';
import { ExtentAllocator } from './extent-allocator.js';

/** Typed views over the window that holds one range of guest memory, for code that works on it often. */
export interface GuestWindow {
  /** The window's whole buffer. */
  readonly buffer: ArrayBuffer;
  /** Where in it the range begins, in bytes. */
  readonly offset: number;
}

/**
 * A guest's physical address space: one or more regions of memory, and an allocator over them.
 *
 * Every address that it takes or gives is guest-physical unless the name says otherwise. Give the
 * regions user addresses that differ from their guest addresses, as a VMM's do: then a device that
 * mixes the two up shows. All values in memory are little-endian.
 */
export class GuestMemoryArena {
  /** The regions, by guest address; what a front-end tells the device. */
  readonly regions: readonly MemoryRegion[];
  readonly #allocators: readonly ExtentAllocator[];

  /**
   * @param regions - must not overlap; guest addresses at multiples of 16, so that a ring that is
   * aligned in the guest is aligned in the window too. The arena does not release the mappings.
   * Throws `EINVAL` for regions that break these rules.
   */
  constructor(regions: readonly MemoryRegion[]) {
    this.regions = [...regions].sort((a, b) => a.guestAddress - b.guestAddress);
    for (const [index, region] of this.regions.entries()) {
      checkRegion(region);
      const before = this.regions[index - 1];
      if (before !== undefined && before.guestAddress + before.size > region.guestAddress) {
        throw new VhostError('EINVAL', `guest memory: regions ${index - 1} and ${index} overlap`);
      }
      if (region.guestAddress % 16 !== 0) {
        throw new VhostError('EINVAL', `guest memory: region ${index} is not aligned to 16 bytes`);
      }
    }
    this.#allocators = this.regions.map(
      ({ guestAddress, size }) => new ExtentAllocator(guestAddress, guestAddress + size),
    );
  }

  /** Bytes not allocated, over all regions. */
  get freeBytes(): number {
    return this.#allocators.reduce((sum, allocator) => sum + allocator.freeBytes, 0);
  }

  /**
   * Allocates `size` bytes in one region and fills them with zeros.
   * @param alignment - bytes, at least 1
   * @param region - index of the region to use; any that has room by default
   * @returns the guest address. Throws `ENOMEM` when no region has room
   */
  allocate(size: number, alignment = 16, region?: number): number {
    for (const [index, allocator] of this.#allocators.entries()) {
      if (region !== undefined && region !== index) continue;
      const address = allocator.allocate(size, alignment);
      if (address === undefined) continue;
      this.bytes(address, size).fill(0);
      return address;
    }
    throw new VhostError('ENOMEM', `guest memory: no room for ${size} bytes`);
  }

  /** Allocates just these bytes (at a region's border, say). Throws `ENOMEM` unless all are free. */
  allocateAt(address: number, size: number): number {
    if (!this.#allocators.some((allocator) => allocator.allocateAt(address, size))) {
      throw new VhostError('ENOMEM', `guest memory: ${size} bytes at ${address} are not free`);
    }
    this.bytes(address, size).fill(0);
    return address;
  }

  /** Gives an allocation back. Throws `EINVAL` for an address that `allocate` did not return. */
  release(address: number): void {
    if (!this.#allocators.some((allocator) => allocator.release(address))) {
      throw new VhostError('EINVAL', `guest memory: nothing is allocated at ${address}`);
    }
  }

  /** The region that holds all of `[address, address + length)`; `undefined` when none does. */
  regionOf(address: number, length = 1): MemoryRegion | undefined {
    return this.regions.find(
      ({ guestAddress, size }) =>
        guestAddress <= address && address + length <= guestAddress + size,
    );
  }

  /** The same byte's address in the front-end's address space. Throws `EFAULT` outside the regions. */
  userAddress(address: number): number {
    const region = this.#regionOf(address, 1);
    return region.userAddress + (address - region.guestAddress);
  }

  /** The window that holds a range of at most 512 MiB. Throws `EFAULT` unless one region has it all. */
  window(address: number, length: number): GuestWindow {
    const region = this.#regionOf(address, length);
    const at = address - region.guestAddress;
    const { index, start, end, offset } = regionWindow(region, at);
    const buffer = region.mapping.windows[index];
    if (buffer === undefined || at + length > end) {
      throw new VhostError('EFAULT', `guest memory: ${length} bytes at ${address} pass the window`);
    }
    return { buffer, offset: offset + (at - start) };
  }

  /** A view, not a copy, of bytes in one region. Throws `EFAULT` outside. */
  bytes(address: number, length: number): Uint8Array {
    const { buffer, offset } = this.window(address, length);
    return new Uint8Array(buffer, offset, length);
  }

  /** As {@link bytes}, for reads and writes of numbers at any alignment. */
  view(address: number, length: number): DataView {
    const { buffer, offset } = this.window(address, length);
    return new DataView(buffer, offset, length);
  }

  /** A copy of bytes that may span regions which touch. Throws `EFAULT` where there is no memory. */
  read(address: number, length: number): Uint8Array {
    const copy = new Uint8Array(length);
    for (const [at, piece] of this.#pieces(address, length)) copy.set(piece, at);
    return copy;
  }

  /** Writes bytes that may span regions which touch. Throws `EFAULT` where there is no memory. */
  write(address: number, bytes: Uint8Array): void {
    for (const [at, piece] of this.#pieces(address, bytes.length)) {
      piece.set(bytes.subarray(at, at + piece.length));
    }
  }

  readUint16(address: number): number {
    return this.view(address, 2).getUint16(0, true);
  }

  writeUint16(address: number, value: number): void {
    this.view(address, 2).setUint16(0, value, true);
  }

  readUint32(address: number): number {
    return this.view(address, 4).getUint32(0, true);
  }

  writeUint32(address: number, value: number): void {
    this.view(address, 4).setUint32(0, value, true);
  }

  readUint64(address: number): bigint {
    return this.view(address, 8).getBigUint64(0, true);
  }

  writeUint64(address: number, value: bigint): void {
    this.view(address, 8).setBigUint64(0, value, true);
  }

  #regionOf(address: number, length: number): MemoryRegion {
    const region = this.regionOf(address, length);
    if (region === undefined) {
      throw new VhostError('EFAULT', `guest memory: no region holds ${length} bytes at ${address}`);
    }
    return region;
  }

  *#pieces(address: number, length: number): Generator<[number, Uint8Array]> {
    for (let at = 0; at < length; ) {
      const region = this.#regionOf(address + at, 1);
      const left = region.guestAddress + region.size - (address + at);
      const piece = this.bytes(address + at, Math.min(left, length - at, WINDOW_STRIDE));
      yield [at, piece];
      at += piece.length;
    }
  }
}
