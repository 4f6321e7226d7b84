import { BehaviorSubject, type Observable, Subject, type Subscription } from 'rxjs';
import { orGiveBack } from '../errors/or-give-back.js';
import { toVhostError, VhostError } from '../errors/vhost-error.js';
import type { EventPort } from '../events/event-port.js';
import { EventLoopTurns } from '../events/turn-scheduler.js';
import type { DirtyLog } from '../memory/dirty-log.js';
import { GuestMemory } from '../memory/guest-memory.js';
import type { MemoryRegion } from '../memory/memory-region.js';
import { IotlbMiss } from '../memory/translator.js';
import { DEFAULT_REGIONS, UserMemory } from '../memory/user-memory.js';
import type { RingFeatures } from '../virtqueue/virtqueue.js';
import { VIRTQUEUES } from '../virtqueue/virtqueues.js';
import { DeviceIotlb } from './device-iotlb.js';
import { DeviceLog } from './device-log.js';
import { FEATURE } from './features.js';
import { checkMemoryTable, type MemoryTableRequest } from './memory-table-request.js';
import type { Kick, QueueFault } from './queue-fault.js';
import { IotlbChannel } from './request/iotlb-channel.js';
import { RawInterface } from './request/raw-interface.js';
import type { VhostDeviceOptions } from './vhost-device-options.js';
import type { ConfigSpace, QueueMode, VirtioDevice } from './virtio-device.js';
import { Vring } from './vring.js';
import type { VringListener } from './vring-reports.js';
import { WorkQueue } from './work-queue.js';

/** A device's life: nobody's, somebody's, with a queue that runs, gone. */
export type DeviceState = 'unowned' | 'owned' | 'running' | 'closed';

/**
 * The control plane that every vhost device shares: owner, features, memory, vrings (seeds A1 to
 * A13). A device of some kind extends it with what its queues do.
 *
 * Calls change the device whole or not at all: each checks everything before it changes anything.
 */
export abstract class VhostDevice extends RawInterface implements VirtioDevice {
  abstract readonly type: 'net' | 'vsock';
  abstract readonly advertisedQueues: number;
  abstract readonly offeredFeatures: bigint;
  abstract readonly config: ConfigSpace;

  readonly maxQueueSize: number;
  /** Memory of the owner, by user address; see {@link UserMemory}. */
  readonly userMemory = new UserMemory();

  protected readonly memory: GuestMemory;
  protected readonly vrings: readonly Vring[];
  protected readonly work: WorkQueue;
  protected readonly iotlb: DeviceIotlb;
  protected readonly iotlbChannel: IotlbChannel;

  readonly #log: DeviceLog;
  readonly #kicks = new Subject<Kick>();
  readonly #errors = new Subject<QueueFault>();
  readonly #state = new BehaviorSubject<DeviceState>('unowned');
  readonly #breaks: Subscription;
  #owned = false;
  #features = 0n;

  /** Emits each time the driver kicks a queue, once for all kicks that came together. */
  readonly kicks$: Observable<Kick> = this.#kicks.asObservable();
  /** Emits what a guest or a backend did wrong; the queue stands still until its next kick (B9). */
  readonly errors$: Observable<QueueFault> = this.#errors.asObservable();
  /** The device's state, at once and on every change. */
  readonly state$: Observable<DeviceState> = this.#state.asObservable();

  constructor(
    readonly queueCount: number,
    options: VhostDeviceOptions,
  ) {
    super();
    this.maxQueueSize = options.maxQueueSize ?? 1024;
    this.memory = options.memory ?? new GuestMemory();
    const virtqueues = options.virtqueues ?? VIRTQUEUES;
    this.work = new WorkQueue(options.turns ?? new EventLoopTurns());
    const listener: VringListener = {
      kicked: (vring, count) => {
        if (this.#kicks.observed) this.#kicks.next({ queue: vring.index, count });
        this.kicked(vring.index);
      },
      failed: (vring, error) => this.fail(vring.index, error),
    };
    this.vrings = Array.from(
      { length: queueCount },
      (_, index) =>
        new Vring(index, this.memory, virtqueues, this.maxQueueSize, listener, options.busyPoll),
    );
    // T20: every queue that runs stops, and stays so until there is other memory.
    this.#breaks = this.memory.broken$.subscribe((error) => {
      for (const { index } of this.vrings.filter(({ attached }) => attached)) {
        this.setQueueMode(index, 'stopped');
        this.fail(index, error);
      }
    });
    this.#log = new DeviceLog(this.vrings);
    this.iotlb = new DeviceIotlb(this.memory, this.vrings, (index) => this.kicked(index));
    this.iotlbChannel = new IotlbChannel(this, this.iotlb);
  }

  /** The driver has kicked queue `index`. */
  protected abstract kicked(index: number): void;
  /** The negotiated features have changed; queues that run are to be attached anew. */
  protected abstract featuresChanged(): void;
  /** Lets queue `index` run, see {@link VirtioDevice.runQueue}; the owner has been checked. */
  protected abstract setQueueMode(index: number, mode: QueueMode): void;
  /** See {@link VirtioDevice.queueSettled}. */
  abstract queueSettled(index: number): Promise<void> | undefined;
  /** Closes the backends that a front-end gave the device, as opposed to those it was made with. */
  protected abstract forgetBackends(): void;
  /** Closes what the device's queues are attached to. */
  protected abstract closeBackends(): void;

  get features(): bigint {
    return this.#features;
  }

  /** The state as it is now. */
  get state(): DeviceState {
    return this.#state.value;
  }

  setOwner(): void {
    this.checkOpen();
    if (this.#owned) throw new VhostError('EBUSY', 'the device has an owner');
    this.memory.replace(this.userMemory.resolve(DEFAULT_REGIONS));
    this.#owned = true;
    this.#state.next('owned');
  }

  async resetOwner(): Promise<void> {
    this.checkOwner();
    await this.reset();
  }

  setFeatures(features: bigint): void {
    this.checkOwner();
    const unknown = features & ~this.offeredFeatures;
    if (unknown !== 0n) {
      throw new VhostError('EOPNOTSUPP', `features 0x${unknown.toString(16)} are not offered`);
    }
    const iommu = (features & FEATURE.IOMMU_PLATFORM) !== 0n;
    this.iotlb.checkUse(iommu, this.state === 'running');
    this.#log.setLogsAll((features & FEATURE.LOG_ALL) !== 0n, this.memory.table.regions);
    const changed = features ^ this.#features;
    this.#features = features;
    this.iotlb.use(iommu);
    for (const vring of this.vrings) vring.features = this.#ringFeatures;
    // Logging is switched while queues run; anything else attaches them anew.
    if ((changed & ~FEATURE.LOG_ALL) !== 0n) this.featuresChanged();
  }

  setLog(log: DirtyLog | undefined): void {
    orGiveBack(
      () => log?.release(),
      () => this.checkOwner(),
    );
    this.#log.set(log, this.memory.table.regions);
  }

  setLogEvent(port: EventPort | undefined): void {
    orGiveBack(
      () => port?.close(),
      () => this.checkOwner(),
    );
    this.#log.setEvent(port);
  }

  /** A5 by user addresses: the bytes are what {@link userMemory} has registered there. */
  setMemoryTable(request: MemoryTableRequest): void {
    this.checkOwner();
    checkMemoryTable(request);
    this.setMemoryRegions(this.userMemory.resolve(request.regions));
  }

  setMemoryRegions(regions: readonly MemoryRegion[]): void {
    this.#changeMemory(regions, () => this.memory.replace(regions));
  }

  addMemoryRegion(region: MemoryRegion): void {
    this.#changeMemory([region], () => this.memory.add(region));
  }

  removeMemoryRegion(region: Omit<MemoryRegion, 'mapping'>): void {
    this.#changeMemory([], () => this.memory.remove(region));
  }

  #changeMemory(given: readonly MemoryRegion[], change: () => void): void {
    const giveBack = () => {
      for (const { mapping } of given) mapping.release();
    };
    orGiveBack(giveBack, () => {
      this.checkOwner();
      this.#log.checkMemory(given);
    });
    change();
    for (const vring of this.vrings) {
      try {
        vring.relocate();
      } catch (error) {
        // The new memory does not hold this queue's rings: the queue stops, the device goes on.
        this.setQueueMode(vring.index, 'stopped');
        this.fail(vring.index, toVhostError(error));
      }
    }
  }

  runQueue(index: number, mode: QueueMode): void {
    this.vring(index);
    this.setQueueMode(index, mode);
  }

  async reset(): Promise<void> {
    for (const { index } of this.vrings) this.setQueueMode(index, 'stopped');
    await Promise.all(this.vrings.map(({ index }) => this.queueSettled(index)));
    await this.work.flush();
    this.forgetBackends();
    for (const vring of this.vrings) vring.reset();
    this.#features = 0n;
    this.iotlb.use(false);
    this.iotlbChannel.version = 1;
    this.#log.clear();
    this.memory.replace(this.userMemory.resolve(DEFAULT_REGIONS));
    this.#owned = false;
    if (this.state !== 'closed') this.#state.next('unowned');
  }

  async close(): Promise<void> {
    if (this.state === 'closed') return;
    this.#state.next('closed');
    await this.reset();
    this.#breaks.unsubscribe();
    this.memory.clear();
    // Work can queue itself again, so once more after everything else has stopped (A3).
    await this.work.flush();
    this.closeBackends();
    this.#kicks.complete();
    this.#errors.complete();
    this.iotlb.end();
    this.#state.complete();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** The vring, for an owner; `EPERM` without one, `ENOBUFS` where there is no such queue (A1, A6). */
  protected override vring(index: number): Vring {
    this.checkOwner();
    const vring = this.vrings[index];
    if (vring === undefined) {
      throw new VhostError('ENOBUFS', `queue ${index} of a device with ${this.queueCount} queues`);
    }
    return vring;
  }

  /** Throws `EPERM` unless the device has an owner (A1). */
  override checkOwner(): void {
    this.checkOpen();
    if (!this.#owned) throw new VhostError('EPERM', 'the device has no owner: SET_OWNER first');
  }

  protected checkOpen(): void {
    if (this.state === 'closed') throw new VhostError('ENODEV', 'the device is closed');
  }

  /** The ring-related part of the negotiated features. */
  get #ringFeatures(): RingFeatures {
    return {
      indirect: (this.#features & FEATURE.INDIRECT_DESC) !== 0n,
      eventIndex: (this.#features & FEATURE.EVENT_IDX) !== 0n,
      notifyOnEmpty: (this.#features & FEATURE.NOTIFY_ON_EMPTY) !== 0n,
      packed: (this.#features & FEATURE.RING_PACKED) !== 0n,
      inOrder: (this.#features & FEATURE.IN_ORDER) !== 0n,
    };
  }

  /**
   * Reports a fault of queue `index` to `errors$`, the counters and the error port (B9). A missing
   * translation is none: it is for whoever answers {@link iotlbMisses$} (B10).
   */
  protected override fail(index: number, error: VhostError): void {
    if (error instanceof IotlbMiss) {
      this.iotlb.missed(index, error);
      return;
    }
    this.vrings[index]?.signalError();
    if (this.#errors.observed) this.#errors.next({ queue: index, error });
  }

  /** Tells `state$` whether any queue runs. */
  protected showRunning(running: boolean): void {
    // What the next driver maps may lie elsewhere, and old ranges would only be in its way (T29).
    if (!running && this.state === 'running') this.iotlb.clear();
    if (this.state === 'closed') return;
    const state = running ? 'running' : this.#owned ? 'owned' : 'unowned';
    if (state !== this.state) this.#state.next(state);
  }
}
