import {
  FEATURE,
  type IotlbRange,
  type QueueMiss,
  VhostError,
  type VirtioDevice,
  type VringAddresses,
} from '@rxvhost/core';
import type { Subscription } from 'rxjs';
import type { GuestMemoryArena } from '../memory/guest-memory-arena.js';
import type { DriverQueue, QueueAddresses } from '../queue/driver-queue.js';
import { type GuestNic, type GuestRing, lendRegions } from './guest-nic.js';

const PAGE = 4096;
/** What the driver calls an address lies here in the guest's physical memory. */
const PHYSICAL_SHIFT = 0x40_0000_0000;
const READ_WRITE = 3;

/** What a device has to be told of a ring. */
type DeviceRing = Pick<GuestRing, 'index' | 'kick' | 'call'> & {
  readonly queue: Pick<DriverQueue, 'size' | 'addresses'> &
    Partial<Pick<DriverQueue, 'initialBase'>>;
};

/**
 * A guest's IOMMU, and the front-end that speaks for it, in process. The addresses of the guest's
 * arena become I/O virtual ones: the device sees its memory elsewhere, and learns page by page, on
 * asking, where each address leads.
 */
export class VirtualIommu {
  /** Everything that the device has asked for. */
  readonly misses: QueueMiss[] = [];
  /** Answers to misses: false to leave the device waiting. */
  answering = true;
  #closed = false;
  readonly #unmapped = new Set<number>();
  readonly #subscription: Subscription | undefined;

  /** @param later - runs an answer later; at once when left out */
  constructor(
    readonly device: VirtioDevice,
    readonly arena: GuestMemoryArena,
    later: (answer: () => void) => void = (answer) => answer(),
  ) {
    this.#subscription = device.iotlbMisses$?.subscribe((miss) => {
      this.misses.push(miss);
      if (this.answering) later(() => this.#closed || this.answer(miss));
    });
  }

  /** As `plugIn`, behind this IOMMU. */
  plugIn(nic: GuestNic): void {
    const { device } = this;
    device.setOwner();
    device.setFeatures(nic.features | FEATURE.IOMMU_PLATFORM);
    this.shareMemory();
    for (const ring of nic.rings) this.startRing(ring);
  }

  /** Gives the device the arena's memory, at its physical addresses. */
  shareMemory(): void {
    this.device.setMemoryRegions(
      lendRegions(this.arena).map((region) => ({
        ...region,
        guestAddress: region.guestAddress + PHYSICAL_SHIFT,
      })),
    );
  }

  /** Sets a ring up by I/O virtual addresses, and runs it. */
  startRing({ index, queue, kick, call }: DeviceRing): void {
    const { device } = this;
    device.setVringSize(index, queue.size);
    device.setVringBase(index, queue.initialBase ?? 0);
    device.setVringAddresses(index, deviceAddresses(queue));
    device.setVringKick(index, kick);
    device.setVringCall(index, call);
    device.runQueue(index, 'running');
  }

  /** Answers a miss: the page, or a refusal where there is none. */
  answer(miss: QueueMiss): void {
    const range = this.translate(miss.address);
    if (range !== undefined) this.device.updateIotlb?.(range);
    else this.device.refuseIotlbMiss?.(miss, notMapped(miss.address));
  }

  /** The page that an address lies in; undefined where nothing is mapped. */
  translate(address: number): IotlbRange | undefined {
    const page = address - (address % PAGE);
    const region = this.arena.regionOf(address);
    if (region === undefined || this.#unmapped.has(page)) return undefined;
    const start = Math.max(page, region.guestAddress);
    const end = Math.min(page + PAGE, region.guestAddress + region.size);
    const userAddress = region.userAddress + (start - region.guestAddress);
    return { address: start, size: end - start, userAddress, access: READ_WRITE };
  }

  /** The guest's driver unmaps the page at `address`: the device may use it no longer. */
  unmap(address: number): void {
    const page = address - (address % PAGE);
    this.#unmapped.add(page);
    this.device.invalidateIotlb?.(page, PAGE);
  }

  /** The guest's driver maps the page at `address` again. */
  map(address: number): void {
    this.#unmapped.delete(address - (address % PAGE));
  }

  /** Drops every translation that the device knows; all of them still hold, if it asks again. */
  flush(): void {
    this.device.invalidateIotlb?.(0, 0);
  }

  /** Answers nothing any more. */
  close(): void {
    this.#closed = true;
    this.#subscription?.unsubscribe();
  }
}

/** A queue's areas as a front-end names them behind an IOMMU: as the driver does. */
export function deviceAddresses({
  addresses: { descriptorTable, availableRing, usedRing },
}: {
  readonly addresses: QueueAddresses;
}): VringAddresses {
  return { descriptorTable, availableRing, usedRing, logAddress: 0, flags: 0 };
}

function notMapped(address: number): VhostError {
  return new VhostError('EFAULT', `virtual IOMMU: nothing is mapped at 0x${address.toString(16)}`);
}
