import { VhostError } from '../errors/vhost-error.js';
import type { DirtyLog } from '../memory/dirty-log.js';
import type { GuestMemory } from '../memory/guest-memory.js';
import { InflightRegion } from '../virtqueue/inflight/inflight-region.js';
import {
  NO_FEATURES,
  type RingFeatures,
  type Virtqueue,
  type VirtqueueFactory,
} from '../virtqueue/virtqueue.js';
import type { VirtqueueLog } from '../virtqueue/virtqueue-log.js';
import { AttachedQueue } from './attached-queue.js';
import type { VringAddresses } from './virtio-device.js';
import { VringPorts } from './vring-ports.js';
import type { VringListener } from './vring-reports.js';

/** Flag of the addresses: log writes to the used ring. */
const FLAG_LOG = 1;

/**
 * One virtqueue's control state: size, base, addresses and event ports as a front-end sets them, in
 * any order, and the queue itself while it is attached (seeds A7 to A11).
 */
export class Vring extends VringPorts {
  /** The negotiated features that its ring follows. */
  features: RingFeatures = NO_FEATURES;
  #size = 0;
  /** Where to begin: a base, where a ring begins that nobody has used, or where this one was used. */
  #base: number | 'unused' | 'as used' = 'unused';
  #addresses: VringAddresses | undefined;
  #attached: AttachedQueue | undefined;
  #inflight: InflightRegion | undefined;
  #log: DirtyLog | undefined;
  #logsBuffers = false;
  #busyPoll: number;

  /**
   * @param maxSize - the largest queue size that the device takes
   * @param defaultBusyPoll - microseconds, see {@link busyPoll}
   */
  constructor(
    readonly index: number,
    private readonly memory: GuestMemory,
    private readonly virtqueues: VirtqueueFactory,
    private readonly maxSize: number,
    private readonly listener: VringListener,
    private readonly defaultBusyPoll = 0,
  ) {
    super();
    this.#busyPoll = defaultBusyPoll;
  }

  /** The queue while it is attached and its rings can be reached; see {@link reach}. */
  get queue(): Virtqueue | undefined {
    return this.#attached?.queue;
  }

  /** Whether a queue is attached, reachable or not. */
  get attached(): boolean {
    return this.#attached !== undefined;
  }

  /**
   * The queue, for whoever has work for it. Behind an IOMMU (B10) its rings may have to be looked
   * for first; when they cannot be reached the device hears why, and the answer is undefined until
   * there is reason to look again.
   */
  reach(): Virtqueue | undefined {
    return this.#attached?.reach();
  }

  /** What lies in `[address, end)` of a driver's addresses lies there no longer. */
  parkIfIn(address: number, end: number): void {
    this.#attached?.parkIfIn(address, end);
  }

  protected override kicked(count: number): void {
    this.retry();
    this.listener.kicked(this, count);
  }

  /** An address that was missing has become known. */
  retry(): void {
    this.#attached?.retry();
  }

  /** Entries; 0 before it is set. */
  get size(): number {
    return this.#size;
  }

  /** Microseconds to look at the empty ring before asking for a kick (C14); 0 is not at all. */
  get busyPoll(): number {
    return this.#busyPoll;
  }

  /** `EINVAL` for what is not a number from 0 on. */
  setBusyPoll(microseconds: number): void {
    if (!(microseconds >= 0)) {
      throw new VhostError('EINVAL', `queue ${this.index}: ${microseconds} µs of busy polling`);
    }
    this.#busyPoll = microseconds;
  }

  /**
   * A7: `EINVAL` for zero, a size that no ring of the layout has, or more than the device takes;
   * `EBUSY` while attached.
   */
  setSize(size: number): void {
    this.#mustNotBeAttached('its size');
    this.virtqueues.checkSize(size, this.features);
    if (size > this.maxSize) {
      throw new VhostError('EINVAL', `queue ${this.index}: size ${size} is over ${this.maxSize}`);
    }
    this.#size = size;
  }

  /**
   * A8: where to go on; `undefined`: where the ring itself says that it was. `EINVAL` for what is no
   * base of the layout, `EBUSY` while attached.
   */
  setBase(base: number | undefined): void {
    this.#mustNotBeAttached('its base');
    if (base !== undefined) this.virtqueues.checkBase(base, this.features);
    this.#base = base ?? 'as used';
  }

  get base(): number {
    return this.#baseToGoOn ?? this.virtqueues.initialBase(this.features);
  }

  get #baseToGoOn(): number | undefined {
    if (this.#attached !== undefined) return this.#attached.base;
    if (this.#base === 'unused') return this.virtqueues.initialBase(this.features);
    return this.#base === 'as used' ? undefined : this.#base;
  }

  /**
   * A9: `EOPNOTSUPP` for unknown flags, `EINVAL` for an available ring at an odd address, a used
   * ring or its log not at a multiple of four; while attached also `EFAULT` when the rings are not in
   * memory (behind an IOMMU nobody knows that yet), or the log has no room for the used ring.
   */
  setAddresses(addresses: VringAddresses): void {
    if ((addresses.flags & ~FLAG_LOG) !== 0) {
      throw new VhostError('EOPNOTSUPP', `queue ${this.index}: unknown ring address flags`);
    }
    if (addresses.availableRing % 2 !== 0 || addresses.usedRing % 4 !== 0) {
      throw new VhostError('EINVAL', `queue ${this.index}: its rings are not aligned to 2 and 4`);
    }
    if (isLogged(addresses) && addresses.logAddress % 4 !== 0) {
      throw new VhostError('EINVAL', `queue ${this.index}: its log address is not aligned to 4`);
    }
    if (this.#attached !== undefined) {
      this.#checkRings(addresses);
      this.#attached.park(addresses);
      this.#attached.setLog(this.#virtqueueLog(addresses));
      if (!this.#hasIommu) this.#attached.locate();
    }
    this.#addresses = addresses;
  }

  /** `EFAULT` when the queue logs its used ring, and `log` has no room for it. */
  checkLog(log: DirtyLog | undefined): void {
    if (this.#attached !== undefined && this.#addresses !== undefined) {
      this.#checkUsedRingLog(this.#addresses, log);
    }
  }

  /**
   * Logs there from now on (B8).
   * @param logsBuffers - whether LOG_ALL is negotiated; the used ring has a flag of its own
   */
  setLog(log: DirtyLog | undefined, logsBuffers: boolean): void {
    this.#log = log;
    this.#logsBuffers = logsBuffers;
    if (this.#addresses !== undefined) this.#attached?.setLog(this.#virtqueueLog(this.#addresses));
  }

  /**
   * Makes the queue, or makes it anew with what it has got to (A11). `EFAULT` when size, addresses
   * or memory are missing or do not fit; the queue is then as it was. Behind an IOMMU the rings are
   * looked for when somebody {@link reach}es for them.
   */
  attach(): void {
    const addresses = this.#addressesToAttach();
    const { features } = this;
    const before = this.#attached?.latest;
    const plan = {
      size: this.#size,
      features,
      base: this.#baseToGoOn,
      before,
      inflight: this.#inflight,
    };
    const failed = (error: VhostError) => this.listener.failed(this, error);
    const attached = new AttachedQueue(this.memory, this.virtqueues, plan, addresses, failed);
    attached.setLog(this.#virtqueueLog(addresses));
    if (!this.#hasIommu) attached.locate();
    this.#attached = attached;
  }

  /** Throws as {@link attach} would; changes nothing. */
  checkAccess(): void {
    this.#checkRings(this.#addressesToAttach());
  }

  /**
   * Notes what is taken in this memory from the next {@link attach} on, and goes on with what is noted
   * there. `EBUSY` while attached.
   */
  setInflight(region: Uint8Array | undefined): void {
    this.#mustNotBeAttached('its inflight region');
    this.#inflight = region && new InflightRegion(region);
  }

  /** Ends the queue; its base stays where it had got to. */
  detach(): void {
    if (this.#attached === undefined) return;
    this.#base = this.#attached.base ?? 'as used';
    this.#attached = undefined;
  }

  /** Finds the rings again after memory has changed (T23). Throws as {@link attach}. */
  relocate(): void {
    this.#attached?.park();
    if (!this.#hasIommu) this.#attached?.locate();
  }

  /** Calls the driver, if it wants to hear of what was published since the last time (B6). */
  callIfWanted(): void {
    if (this.queue?.takeCallWanted() !== true) {
      this.counters.callsSuppressed += 1;
      return;
    }
    this.call();
  }

  /** As after construction: detached, nothing set, every port closed (A2). */
  reset(): void {
    this.detach();
    this.setKick(undefined);
    this.setCall(undefined);
    this.setError(undefined);
    this.setLog(undefined, false);
    this.#size = 0;
    this.#base = 'unused';
    this.features = NO_FEATURES;
    this.#busyPoll = this.defaultBusyPoll;
    this.#inflight = undefined;
    this.#addresses = undefined;
  }

  #addressesToAttach(): VringAddresses {
    if (this.memory.fault !== undefined) throw this.memory.fault;
    if (this.#size === 0 || this.#addresses === undefined) {
      throw new VhostError('EFAULT', `queue ${this.index}: its size or addresses are not set`);
    }
    return this.#addresses;
  }

  get #hasIommu(): boolean {
    return this.memory.iotlb !== undefined;
  }

  #checkRings(addresses: VringAddresses): void {
    if (!this.#hasIommu) {
      this.virtqueues.check(this.memory.table, addresses, this.#size, this.features);
    }
    this.#checkUsedRingLog(addresses, this.#log);
  }

  /** Behind an IOMMU the ring is logged where it lies, and a log ignores what it has no room for. */
  #checkUsedRingLog(addresses: VringAddresses, log: DirtyLog | undefined): void {
    if (!isLogged(addresses) || (this.#hasIommu && log !== undefined)) return;
    const bytes = this.virtqueues.areas(this.#size, this.features).usedRing;
    if (log?.covers(addresses.logAddress, bytes) === true) return;
    throw new VhostError('EFAULT', `queue ${this.index}: no log where its used ring is logged`);
  }

  #virtqueueLog(addresses: VringAddresses): VirtqueueLog {
    return {
      buffers: this.#logsBuffers ? this.#log : undefined,
      usedRing: isLogged(addresses) ? this.#log : undefined,
      usedRingAddress: this.#hasIommu ? undefined : addresses.logAddress,
    };
  }

  #mustNotBeAttached(what: string): void {
    if (this.#attached !== undefined) {
      throw new VhostError('EBUSY', `queue ${this.index} runs: ${what} cannot be set`);
    }
  }
}

function isLogged({ flags }: VringAddresses): boolean {
  return (flags & FLAG_LOG) !== 0;
}
