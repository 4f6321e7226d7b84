import { VhostError } from '../errors/vhost-error.js';
import { ADDRESS_LIMIT } from './memory-region.js';

/**
 * The device IOTLB (seed B10). Behind a virtual IOMMU a driver's addresses are I/O virtual addresses
 * that mean nothing to us. The front-end knows the guest's page tables; it tells the device, on its
 * own account or asked by a *miss*, where a range lies (*update*), and takes that back when the
 * guest unmaps it (*invalidate*). Told ranges are kept here, at most so many: the oldest goes first,
 * and costs no more than another miss.
 */

/** Ranges that a device keeps, as many as the kernel does. */
export const DEFAULT_IOTLB_RANGES = 2048;

/** What a device may do with a range: 1 read, 2 write, 3 both. */
export type IotlbAccess = 1 | 2 | 3;
export const IOTLB_READ = 1;
export const IOTLB_WRITE = 2;

/** A translation as a front-end tells it. */
export interface IotlbRange {
  /** First I/O virtual address. */
  readonly address: number;
  /** Bytes, at least 1. */
  readonly size: number;
  /** Where the range lies in the front-end's own address space. */
  readonly userAddress: number;
  readonly access: IotlbAccess;
}

/** The translations that are known: ranges that do not overlap, in order of their addresses. */
export class Iotlb {
  /** Another number whenever a range that was known has gone or changed. */
  generation = 0;
  #ranges: IotlbRange[] = [];
  /** The same in the order in which they came. */
  readonly #age: IotlbRange[] = [];

  /** @param capacity - the most ranges kept */
  constructor(readonly capacity = DEFAULT_IOTLB_RANGES) {}

  /** How many ranges are known. */
  get count(): number {
    return this.#ranges.length;
  }

  /**
   * A range is known from now on, in place of what was known of any part of it.
   * Throws `EINVAL` for no bytes and for addresses past 2^53.
   */
  update(range: IotlbRange): void {
    const { address, size, userAddress } = range;
    const largest = Math.max(address, userAddress) + size;
    if (size < 1 || Math.min(address, userAddress) < 0 || largest > ADDRESS_LIMIT) {
      throw new VhostError('EINVAL', `IOTLB: ${size} bytes at 0x${address.toString(16)}`);
    }
    this.#forget(address, size);
    this.#insert(range);
    this.#forgetOldest();
  }

  /** Nothing is known of `[address, address + size)` any more. */
  invalidate(address: number, size: number): void {
    this.#forget(address, size);
    // A range from whose middle something was taken is two.
    this.#forgetOldest();
  }

  /** Forgets everything. */
  clear(): void {
    this.#ranges = [];
    this.#age.length = 0;
    this.generation += 1;
  }

  /** The range that `address` lies in. */
  find(address: number): IotlbRange | undefined {
    const range = this.#ranges[this.#indexAfter(address) - 1];
    return range !== undefined && address < rangeEnd(range) ? range : undefined;
  }

  #forgetOldest(): void {
    while (this.#age.length > this.capacity) {
      const oldest = this.#age[0] as IotlbRange;
      this.#forget(oldest.address, oldest.size);
    }
  }

  #forget(address: number, size: number): void {
    const end = address + size;
    let first = this.#indexAfter(address);
    if (first > 0 && rangeEnd(this.#ranges[first - 1] as IotlbRange) > address) first -= 1;
    let last = first;
    while (last < this.#ranges.length && (this.#ranges[last] as IotlbRange).address < end)
      last += 1;
    if (first === last) return;
    this.generation += 1;
    for (const range of this.#ranges.splice(first, last - first)) {
      this.#age.splice(this.#age.indexOf(range), 1);
      // What sticks out on either side stays.
      if (range.address < address) this.#insert({ ...range, size: address - range.address });
      const cut = end - range.address;
      if (cut < range.size) {
        this.#insert({
          ...range,
          address: end,
          userAddress: range.userAddress + cut,
          size: range.size - cut,
        });
      }
    }
  }

  #insert(range: IotlbRange): void {
    this.#ranges.splice(this.#indexAfter(range.address), 0, range);
    this.#age.push(range);
  }

  /** Index of the first range that begins after `address`. */
  #indexAfter(address: number): number {
    let low = 0;
    let high = this.#ranges.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#ranges[middle] as IotlbRange).address <= address) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

function rangeEnd({ address, size }: IotlbRange): number {
  return address + size;
}
