import { defer, from, merge, type Observable, Subject } from 'rxjs';
import { VhostError } from '../errors/vhost-error.js';
import type { GuestMemory } from '../memory/guest-memory.js';
import {
  IOTLB_READ,
  IOTLB_WRITE,
  Iotlb,
  type IotlbAccess,
  type IotlbRange,
} from '../memory/iotlb.js';
import type { IotlbMiss } from '../memory/translator.js';
import type { Vring } from './vring.js';

/** A queue that stands still for want of a translation (seed B10). */
export interface QueueMiss {
  /** Virtqueue index. */
  readonly queue: number;
  /** The I/O virtual address that the device knows nothing of. */
  readonly address: number;
  /** What the device means to do there. */
  readonly access: IotlbAccess;
}

/**
 * The IOTLB of a whole device: what front-ends tell it, and which queue waits for what.
 *
 * A queue that meets an unknown address stands still and is noted here, once; its handler does not
 * look again before it has a reason to: an update that covers the address, or a kick. So a guest
 * that uses addresses which nobody ever maps costs one message for every kick of its own.
 */
export class DeviceIotlb {
  readonly #waiting = new Map<number, QueueMiss>();
  readonly #misses = new Subject<QueueMiss>();

  /** Each miss as it comes; first, at once, those that queues wait for already. */
  readonly misses$: Observable<QueueMiss> = defer(() =>
    merge(from([...this.#waiting.values()]), this.#misses),
  );

  /** What queues wait for, one thing each. */
  get waiting(): Iterable<QueueMiss> {
    return this.#waiting.values();
  }

  /** @param wake - lets a queue look at its ring again */
  constructor(
    private readonly memory: GuestMemory,
    private readonly vrings: readonly Vring[],
    private readonly wake: (queue: number) => void,
  ) {}

  /** `EBUSY` when that would give addresses another meaning while a queue runs. */
  checkUse(iommu: boolean, running: boolean): void {
    if (running && iommu !== (this.memory.iotlb !== undefined)) {
      throw new VhostError('EBUSY', 'IOMMU_PLATFORM cannot change while a queue runs');
    }
  }

  /** Puts the IOMMU in the way, knowing nothing, or takes it out of it. */
  use(iommu: boolean): void {
    if (iommu === (this.memory.iotlb !== undefined)) return;
    this.#waiting.clear();
    this.memory.setIotlb(iommu ? new Iotlb() : undefined);
  }

  /** A queue stands still for `miss`. */
  missed(queue: number, { address, write }: IotlbMiss): void {
    const miss: QueueMiss = { queue, address, access: write ? IOTLB_WRITE : IOTLB_READ };
    this.#waiting.set(queue, miss);
    this.#misses.next(miss);
  }

  /**
   * The translation will not come: the queue waits for a kick now, no longer for an update. False
   * when it does not wait for just this any more.
   */
  giveUp(miss: QueueMiss): boolean {
    const now = this.#waiting.get(miss.queue);
    if (now?.address !== miss.address || now.access !== miss.access) return false;
    return this.#waiting.delete(miss.queue);
  }

  /** See `VirtioDevice.updateIotlb`. */
  update(range: IotlbRange): void {
    this.#iotlb.update(range);
    const end = range.address + range.size;
    this.#park(range.address, end);
    for (const [queue, { address }] of this.#waiting) {
      if (address < range.address || address >= end) continue;
      this.#waiting.delete(queue);
      this.vrings[queue]?.retry();
      this.wake(queue);
    }
  }

  /** See `VirtioDevice.invalidateIotlb`. */
  invalidate(address: number, size: number): void {
    const end = size === 0 ? Number.POSITIVE_INFINITY : address + size;
    this.#iotlb.invalidate(address, end - address);
    this.#park(address, end);
  }

  /** Nothing is known any more, and nobody waits: no queue runs. */
  clear(): void {
    this.#waiting.clear();
    this.memory.iotlb?.clear();
  }

  /** No more misses will come. */
  end(): void {
    this.#misses.complete();
  }

  get #iotlb(): Iotlb {
    const { iotlb } = this.memory;
    if (iotlb === undefined) {
      throw new VhostError('EFAULT', 'IOTLB: the device is not behind an IOMMU');
    }
    return iotlb;
  }

  #park(address: number, end: number): void {
    for (const vring of this.vrings) vring.parkIfIn(address, end);
  }
}
