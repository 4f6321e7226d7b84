import type { Observable } from 'rxjs';
import { VhostError } from '../errors/vhost-error.js';
import { BreakWatch } from './break-watch.js';
import { DeviceAddresses } from './device-addresses.js';
import type { Iotlb } from './iotlb.js';
import type { MemoryMapping } from './mapping.js';
import type { MemoryRegion } from './memory-region.js';
import { MemoryTable } from './memory-table.js';
import type { Translator } from './translator.js';

/** Regions that a device's memory may have: as many as QEMU with KVM, the largest asker, can use. */
export const DEFAULT_MAX_REGIONS = 509;

/**
 * A device's guest memory: the current {@link MemoryTable} and the mappings behind it. Each mapping
 * is released once, when no table that is still held speaks of it.
 */
export class GuestMemory {
  readonly #uses = new Map<MemoryMapping, number>();
  readonly #watch = new BreakWatch();
  #table: MemoryTable;
  #iotlb: Iotlb | undefined;
  #translator: Translator;

  /** @param maxRegions - the most regions in one table */
  constructor(readonly maxRegions = DEFAULT_MAX_REGIONS) {
    this.#table = this.#newTable([]);
    this.#translator = this.#table;
  }

  /** The table as it is now. To keep it over a turn, `retain` it. */
  get table(): MemoryTable {
    return this.#table;
  }

  /** The translations known, while the driver's addresses are behind an IOMMU (seed B10). */
  get iotlb(): Iotlb | undefined {
    return this.#iotlb;
  }

  /** Puts an IOMMU with these translations before guest memory, or takes it away. */
  setIotlb(iotlb: Iotlb | undefined): void {
    this.#iotlb = iotlb;
    this.#translator = this.#translatorNow();
  }

  /** What turns a driver's addresses into places in the current table. */
  get translator(): Translator {
    return this.#translator;
  }

  /** Emits {@link fault} when bytes of the current table turn out to be gone (hazard T20). */
  get broken$(): Observable<VhostError> {
    return this.#watch.broken$;
  }

  /** Why the current table must not be used any more, if that is so. A new table ends it. */
  get fault(): VhostError | undefined {
    return this.#watch.fault;
  }

  /**
   * Replaces all regions in one step. Owns the mappings from here on, whether it throws or not.
   * Throws `E2BIG` over the limit of regions and `EINVAL` as {@link MemoryTable}; the old table then
   * stands.
   */
  replace(regions: readonly MemoryRegion[]): void {
    const old = this.#table;
    try {
      if (regions.length > this.maxRegions) {
        throw new VhostError(
          'E2BIG',
          `${regions.length} memory regions, at most ${this.maxRegions} are taken`,
        );
      }
      this.#table = this.#newTable(regions);
    } catch (error) {
      this.#releaseUnused(regions);
      throw error;
    }
    this.#translator = this.#translatorNow();
    this.#watch.follow(this.#table.regions);
    old.release();
  }

  /** One region more. Ownership and errors as {@link replace}. */
  add(region: MemoryRegion): void {
    this.replace([...this.#table.regions, region]);
  }

  /** Takes the region with just these numbers away. `EINVAL` where there is none. */
  remove(region: Omit<MemoryRegion, 'mapping'>): void {
    const rest = this.#table.regions.filter(
      ({ guestAddress, userAddress, size }) =>
        guestAddress !== region.guestAddress ||
        userAddress !== region.userAddress ||
        size !== region.size,
    );
    if (rest.length === this.#table.regions.length) {
      throw new VhostError(
        'EINVAL',
        `there is no memory region at guest address 0x${region.guestAddress.toString(16)} with these numbers`,
      );
    }
    this.replace(rest);
  }

  /** Lets everything go; the table is empty from here on. */
  clear(): void {
    this.replace([]);
  }

  #translatorNow(): Translator {
    return this.#iotlb === undefined ? this.#table : new DeviceAddresses(this.#table, this.#iotlb);
  }

  #newTable(regions: readonly MemoryRegion[]): MemoryTable {
    const table = new MemoryTable(regions, (released) => {
      released.windows.invalidate();
      for (const { mapping } of released.regions) this.#drop(mapping);
    });
    for (const { mapping } of regions) {
      this.#uses.set(mapping, (this.#uses.get(mapping) ?? 0) + 1);
    }
    return table;
  }

  #drop(mapping: MemoryMapping): void {
    const uses = (this.#uses.get(mapping) ?? 0) - 1;
    if (uses > 0) {
      this.#uses.set(mapping, uses);
      return;
    }
    this.#uses.delete(mapping);
    mapping.release();
  }

  #releaseUnused(regions: readonly MemoryRegion[]): void {
    for (const mapping of new Set(regions.map((region) => region.mapping))) {
      if (!this.#uses.has(mapping)) mapping.release();
    }
  }
}
