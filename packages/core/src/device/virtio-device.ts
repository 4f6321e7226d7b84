import type { Observable } from 'rxjs';
import type { VhostError } from '../errors/vhost-error.js';
import type { EventPort } from '../events/event-port.js';
import type { DirtyLog } from '../memory/dirty-log.js';
import type { IotlbRange } from '../memory/iotlb.js';
import type { MemoryMapping } from '../memory/mapping.js';
import type { MemoryRegion } from '../memory/memory-region.js';
import type { QueueMiss } from './device-iotlb.js';

/** Ring addresses in the front-end's address space, and the flags of the request (seed A9). */
export interface VringAddresses {
  readonly descriptorTable: number;
  readonly availableRing: number;
  readonly usedRing: number;
  /** Where used-ring writes are logged, a guest-physical address; used when `flags` has bit 0. */
  readonly logAddress: number;
  /** Bit 0: log writes to the used ring. Any other bit is refused. */
  readonly flags: number;
}

/** What a transport may let a queue do; see {@link VirtioDevice.runQueue}. */
export type QueueMode = 'stopped' | 'discarding' | 'running';

/** Device configuration space, as the guest's driver reads it. */
export interface ConfigSpace {
  /** Bytes in the space. */
  readonly size: number;
  /** A copy of `length` bytes from `offset`; `EINVAL` when that is not all inside. */
  read(offset: number, length: number): Uint8Array;
  /**
   * Writes. `EPERM` for a read-only field, unless `migration` (a front-end that restores a device
   * may set every field); `EINVAL` outside the space.
   */
  write(offset: number, bytes: Uint8Array, migration: boolean): void;
}

/**
 * A device as a transport sees it (vhost-user, the request interface): owner, features, memory and
 * vrings, and a switch per queue. Errors are `VhostError` with the `code` that the seed row names;
 * the call that throws has changed nothing.
 */
export interface VirtioDevice {
  /** The vhost-user device type, as in `--print-capabilities`. */
  readonly type: 'net' | 'vsock';
  /** Virtqueues, an even number for a NIC. */
  readonly queueCount: number;
  /** What GET_QUEUE_NUM answers: pairs for a NIC, queues otherwise. */
  readonly advertisedQueues: number;
  /** Largest queue size that SET_VRING_NUM accepts. */
  readonly maxQueueSize: number;
  /** Feature bits offered (seed A4). */
  readonly offeredFeatures: bigint;
  /** Feature bits accepted by the driver. */
  readonly features: bigint;
  readonly config: ConfigSpace;

  /** A1: `EBUSY` while owned. */
  setOwner(): void;
  /** A2. Resolves when every queue has stopped and everything outstanding has come back. */
  resetOwner(): Promise<void>;
  /**
   * A4: `EOPNOTSUPP` for a bit that is not offered, `EFAULT` for LOG_ALL without a log for all of
   * guest memory. With LOG_ALL set, memory that the log has no room for is refused with `EFAULT`.
   */
  setFeatures(features: bigint): void;
  /** A5, T23. The device owns the regions' mappings from here on, whether it throws or not. */
  setMemoryRegions(regions: readonly MemoryRegion[]): void;
  /** One region more (vhost-user ADD_MEM_REG). Ownership as above. */
  addMemoryRegion(region: MemoryRegion): void;
  /** The region with just these three numbers goes (REM_MEM_REG); `EINVAL` where there is none. */
  removeMemoryRegion(region: Omit<MemoryRegion, 'mapping'>): void;

  /**
   * The dirty log to note writes in from now on (seed B8); the device owns it from here on, whether
   * it throws or not. `EFAULT` when LOG_ALL, or a running queue, needs more of a log than this.
   */
  setLog(log: DirtyLog | undefined): void;
  /** Raised whenever something was logged; the device owns the port; `undefined` unsets. */
  setLogEvent(port: EventPort | undefined): void;

  /** A7. */
  setVringSize(index: number, size: number): void;
  /**
   * A8: the next available index of a split ring; of a packed one its positions and wrap counters for
   * what is available (bits 0 … 15) and used (16 … 31). `undefined` lets a split queue go on where its
   * used ring ends, and a packed one begin at its beginning.
   */
  setVringBase(index: number, base: number | undefined): void;
  /** A8: where the device will go on. */
  vringBase(index: number): number;
  /** A9. */
  setVringAddresses(index: number, addresses: VringAddresses): void;
  /** A10: the device owns the port from here on; `undefined` unsets. */
  setVringKick(index: number, port: EventPort | undefined): void;
  /** A10. */
  setVringCall(index: number, port: EventPort | undefined): void;
  /** A10. */
  setVringError(index: number, port: EventPort | undefined): void;

  /**
   * Where to note which of a queue's chains are in the device's hands, for the back-end that comes
   * after it (INFLIGHT_SHMFD): what `splitInflightBytes` or `packedInflightBytes` say, by the
   * negotiated features, and up to 63 bytes more. The bytes stay the transport's: a device uses
   * them from the queue's start on, and lets go of them when it is told `undefined`, or is reset.
   * `EBUSY` while the queue runs. Absent on devices that keep no such note.
   */
  setInflight?(index: number, region: Uint8Array | undefined): void;

  /**
   * Lets a queue run, run without effects (a stopped NIC queue takes and discards what the guest
   * sends, and gives it nothing), or stand still. Going to `running` looks at the ring once, kick
   * or no kick (T03, T04). `EFAULT` when the ring is not in accessible memory (A9, C9).
   * A queue that stops with frames outstanding in a backend has its final base when it is
   * {@link queueSettled}.
   */
  runQueue(index: number, mode: QueueMode): void;
  /**
   * Resolves when nothing of a stopped queue is outstanding in a backend any more, or was given up:
   * its base is final and no used entry will follow (C13). Undefined when that is so already.
   */
  queueSettled(index: number): Promise<void> | undefined;

  /**
   * Emits what a queue behind an IOMMU stands still for (seed B10): once whenever it comes to a
   * standstill, and on subscription what queues wait for already. Absent, with the three methods
   * after it, on devices that know no IOMMU.
   */
  readonly iotlbMisses$?: Observable<QueueMiss>;
  /**
   * A range of the driver's addresses is known from now on; queues that waited for it go on. `EFAULT`
   * unless IOMMU_PLATFORM is negotiated, `EINVAL` for a range as `Iotlb.update` refuses it.
   */
  updateIotlb?(range: IotlbRange): void;
  /**
   * `size` bytes from `address` on are not to be used any more; size 0 is everything from there on.
   * In effect when the call returns. `EFAULT` unless IOMMU_PLATFORM is negotiated.
   */
  invalidateIotlb?(address: number, size: number): void;
  /** The translation that a queue waits for will not come: `error` is reported as the queue's fault. */
  refuseIotlbMiss?(miss: QueueMiss, error: VhostError): void;

  /**
   * Emits when {@link config} has changed by the device's own doing, the link's status for example
   * (T62). Absent where it never does.
   */
  readonly configChanges$?: Observable<void>;

  /** Back to unowned, as after construction, at once; ready for the next front-end (T11). */
  reset(): Promise<void>;
  /** Releases the device and its backends for good (A3). */
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;

  /** NET_SET_MTU: `EINVAL` for a value the device cannot carry. Absent on devices without an MTU. */
  setMtu?(mtu: number): void;

  /**
   * What a device of the same kind elsewhere needs to go on with this one's driver, besides memory,
   * features and rings, which a front-end tells by itself (DEVICE_STATE). Self-checking, of some
   * version, at most `MAX_STATE_BYTES`. Changes nothing: should the migration fail, this device goes
   * on. `EBUSY` while a queue runs. Absent, as is {@link loadState}, on devices without such state.
   */
  saveState?(): Uint8Array;
  /**
   * Goes on from a saved state, which may come from anywhere; the front-end then negotiates and
   * sets up rings as ever. `EINVAL` for what is no state, or not one that this device can go on from;
   * `EBUSY` while a queue runs. What throws has changed nothing.
   */
  loadState?(state: Uint8Array): void;

  /**
   * SEND_RARP: makes the network learn where the guest with this MAC address (6 bytes) is now, after
   * a migration (T61). Absent on devices without such an address.
   * @param memory - at least 128 bytes for the frame, which the backends can reach; owned from here on
   */
  announce?(mac: Uint8Array, memory: MemoryMapping): void;
}
