import {
  type MemoryMapping,
  type MemoryRegion,
  VhostError,
  type VirtioDevice,
} from '@rxvhost/core';
import { fileStatus, mapShared } from '@rxvhost/sys';
import type { ReceivedFds } from '../channel/received-fds.js';
import type { RegionDescription } from '../protocol/payloads.js';

/** Regions that one front-end may add one by one; what QEMU with KVM, the largest asker, can use. */
export const MAX_MEMORY_SLOTS = 509;

/** How often regions may be added again: all of them for every further queue pair. */
const MAX_REPEATED = 128 * MAX_MEMORY_SLOTS;
const PAGE = 4096;

/**
 * Guest memory as the front-end describes it, checked and mapped before the device sees it. A
 * front-end is trusted to mean well but not to be right: a file shorter than its region would break
 * the device at the first access (hazard T20), so everything that can be checked is.
 *
 * The device owns what was mapped once it has been given it. File descriptors are only looked at.
 */
export class MemoryRegions {
  #regions: readonly RegionDescription[] = [];
  /** Regions that were added once more, as often as that. */
  #repeated: readonly RegionDescription[] = [];

  #guestAddresses = false;

  constructor(readonly device: VirtioDevice) {}

  /**
   * GPA_ADDRESSES: what the front-end calls a user address, of rings and in translations, is from now
   * on a guest-physical one. To the device that is a front-end whose own addresses happen to be the
   * guest's. `EBUSY` once there is memory that was shared the other way.
   */
  useGuestAddresses(on: boolean): void {
    if (on === this.#guestAddresses) return;
    if (this.count > 0)
      throw new VhostError('EBUSY', 'GPA_ADDRESSES cannot change: memory is shared');
    this.#guestAddresses = on;
  }

  /** How many regions the device has. */
  get count(): number {
    return this.#regions.length;
  }

  /**
   * Maps all regions and gives them to the device in place of those it had (seed A5). Throws
   * `EINVAL` for a region that fails a check and whatever mapping it throws; then the old regions
   * stand and nothing stays mapped (hazard T24).
   */
  replace(received: readonly RegionDescription[], fds: ReceivedFds): void {
    const descriptions = received.map((description) => this.#asUsed(description));
    for (const [index, description] of descriptions.entries()) {
      checkDescription(description);
      checkOverlap(description, descriptions.slice(0, index));
    }
    const mapped: MemoryRegion[] = [];
    try {
      for (const [index, description] of descriptions.entries()) {
        mapped.push(mapRegion(description, fds.peek(index)));
      }
    } catch (error) {
      for (const { mapping } of mapped) mapping.release();
      throw error;
    }
    this.device.setMemoryRegions(mapped);
    this.#regions = descriptions;
    this.#repeated = [];
  }

  /**
   * Maps one region more. QEMU before 8.0 adds every region once for each queue pair, and takes it
   * away as often: one that is here already is only counted. Throws `ENOBUFS` when all slots are taken,
   * else as {@link replace}.
   */
  add(received: RegionDescription, fds: ReceivedFds): void {
    const description = this.#asUsed(received);
    checkDescription(description);
    const isRepeated = this.#regions.some((region) => isSame(region, description));
    const { length } = isRepeated ? this.#repeated : this.#regions;
    if (length >= (isRepeated ? MAX_REPEATED : MAX_MEMORY_SLOTS)) {
      throw new VhostError('ENOBUFS', `all ${MAX_MEMORY_SLOTS} memory slots are taken`);
    }
    if (isRepeated) {
      this.#repeated = [...this.#repeated, description];
      return;
    }
    checkOverlap(description, this.#regions);
    this.device.addMemoryRegion(mapRegion(description, fds.peek(0)));
    this.#regions = [...this.#regions, description];
  }

  /**
   * Takes away the region with the same addresses and size; the offset in the file does not count
   * (hazard T28). `EINVAL` where there is none.
   */
  remove(received: RegionDescription): void {
    const description = this.#asUsed(received);
    const repeated = this.#repeated.findIndex((region) => isSame(region, description));
    if (repeated >= 0) {
      this.#repeated = this.#repeated.filter((_, index) => index !== repeated);
      return;
    }
    const { guestAddress, userAddress, size } = description;
    this.device.removeMemoryRegion({ guestAddress, userAddress, size });
    this.#regions = this.#regions.filter((region) => !isSame(region, description));
  }

  #asUsed(description: RegionDescription): RegionDescription {
    if (!this.#guestAddresses) return description;
    return { ...description, userAddress: description.guestAddress };
  }
}

/** Whether two descriptions are of one region; the offset in the file does not count. */
function isSame(one: RegionDescription, other: RegionDescription): boolean {
  return (
    one.guestAddress === other.guestAddress &&
    one.userAddress === other.userAddress &&
    one.size === other.size
  );
}

function checkDescription(region: RegionDescription): void {
  const { guestAddress, userAddress, size, mmapOffset } = region;
  if (size === 0) throw new VhostError('EINVAL', `${describe(region)}: its size is 0`);
  for (const [name, start] of Object.entries({ guestAddress, userAddress, mmapOffset })) {
    if (!Number.isSafeInteger(start + size)) {
      throw new VhostError('EINVAL', `${describe(region)}: ${name} + size passes 2^53`);
    }
    if (start % PAGE !== 0) {
      throw new VhostError('EINVAL', `${describe(region)}: ${name} is not a multiple of ${PAGE}`);
    }
  }
}

function checkOverlap(region: RegionDescription, others: readonly RegionDescription[]): void {
  for (const other of others) {
    const apart =
      region.guestAddress + region.size <= other.guestAddress ||
      other.guestAddress + other.size <= region.guestAddress;
    if (!apart) {
      throw new VhostError('EINVAL', `${describe(region)} overlaps ${describe(other)}`);
    }
  }
}

function mapRegion(region: RegionDescription, fd: number): MemoryRegion {
  const { guestAddress, userAddress, size, mmapOffset } = region;
  const status = fileStatus(fd);
  switch (status.kind) {
    case 'regular':
      if (status.size < mmapOffset + size) {
        throw new VhostError(
          'EINVAL',
          `${describe(region)}: its file has ${status.size} bytes, it needs ${mmapOffset + size}`,
        );
      }
      break;
    case 'character': // a device-memory file has no size to check
      break;
    case 'socket':
    case 'fifo':
    case 'directory':
    case 'block':
    case 'other':
      throw new VhostError('EINVAL', `${describe(region)}: a ${status.kind} is no memory file`);
  }
  const mapping: MemoryMapping = mapShared(fd, mmapOffset, size);
  return { guestAddress, userAddress, size, mapping };
}

function describe({ guestAddress, size }: RegionDescription): string {
  return `memory region of ${size} bytes at guest address 0x${guestAddress.toString(16)}`;
}
