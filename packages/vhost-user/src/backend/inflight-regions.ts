import {
  FEATURE,
  type MemoryMapping,
  packedInflightBytes,
  splitInflightBytes,
  VhostError,
  type VirtioDevice,
} from '@rxvhost/core';
import { createMemfd, fileStatus, mapShared } from '@rxvhost/sys';
import type { InflightDescription, InflightMemory } from '../protocol/payloads.js';

/** Each queue's region begins at a multiple of this, as in libvhost-user and DPDK. */
const ALIGNMENT = 64;
const PAGE = 4096;

/** Bytes of the region of one queue of `queueSize` entries. */
export function inflightRegionBytes(queueSize: number, packed: boolean): number {
  const bytes = packed ? packedInflightBytes(queueSize) : splitInflightBytes(queueSize);
  return Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
}

/**
 * The memory in which a device notes which chains of each queue are in its hands (INFLIGHT_SHMFD).
 * A front-end asks for it once (GET_INFLIGHT_FD), keeps the file, and gives it to every back-end that
 * serves its guest (SET_INFLIGHT_FD): to this one, and to the next one after a crash.
 *
 * One region for each queue, one after the other; how long it is depends on the kind of ring. The
 * file may come before rings, sizes or even features are known (hazard T12), so it is mapped as far
 * as the longer kind needs, and cut into regions by the features of the moment.
 */
export class InflightRegions {
  #mapping: MemoryMapping | undefined;
  #bytes = new Uint8Array(0);
  #queueCount = 0;
  #queueSize = 0;
  #cutForPacked = false;

  constructor(private readonly device: VirtioDevice) {}

  /**
   * A new file of zeroes that cannot change its size. Throws `EINVAL` for more queues, or longer
   * ones, than the device has.
   */
  make(wanted: InflightDescription): InflightMemory {
    this.#check(wanted);
    const { queueCount, queueSize } = wanted;
    const mmapSize = queueCount * inflightRegionBytes(queueSize, this.#packed);
    const fd = createMemfd('rxvhost-inflight', mmapSize);
    return { mmapSize, mmapOffset: 0, queueCount, queueSize, fd };
  }

  /**
   * Maps the file and gives each queue its region. Throws `EINVAL` for numbers or a file that do not
   * hold what they promise; then what was there before stands. `fd` is only looked at.
   */
  set(description: InflightDescription, fd: number): void {
    this.#check(description);
    const { queueCount, queueSize } = description;
    const needed = queueCount * inflightRegionBytes(queueSize, this.#packed);
    const size = Math.min(description.mmapSize, queueCount * inflightRegionBytes(queueSize, true));
    if (size < needed) {
      throw new VhostError('EINVAL', `inflight memory: ${size} bytes where ${needed} are needed`);
    }
    const { mapping, bytes } = map(description, size, fd);
    const before = this.#mapping;
    this.#mapping = mapping;
    this.#bytes = bytes;
    this.#queueCount = queueCount;
    this.#queueSize = queueSize;
    this.#give();
    before?.release();
  }

  /** Whether with these features the regions would have to be cut anew. */
  dependsOn(features: bigint): boolean {
    const packed = (features & FEATURE.RING_PACKED) !== 0n;
    return this.#mapping !== undefined && packed !== this.#cutForPacked;
  }

  /** Cuts the regions anew if what was negotiated makes them longer or shorter. */
  featuresChanged(): void {
    if (this.dependsOn(this.device.features)) this.#give();
  }

  #give(): void {
    this.#cutForPacked = this.#packed;
    for (let index = 0; index < this.device.queueCount; index += 1) {
      this.device.setInflight?.(index, this.#region(index));
    }
  }

  /** Takes the regions back from the device and lets the memory go. */
  forget(): void {
    if (this.#mapping === undefined) return;
    this.#queueCount = 0;
    this.#give();
    this.release();
  }

  /** Lets the memory go, after the device has let go of it in a reset. */
  release(): void {
    this.#mapping?.release();
    this.#mapping = undefined;
  }

  /** Undefined for a queue that the front-end keeps nothing for, and where there is no room. */
  #region(index: number): Uint8Array | undefined {
    const length = inflightRegionBytes(this.#queueSize, this.#packed);
    const start = index * length;
    if (index >= this.#queueCount || start + length > this.#bytes.length) return undefined;
    return this.#bytes.subarray(start, start + length);
  }

  #check({ queueCount, queueSize }: InflightDescription): void {
    const { queueCount: queues, maxQueueSize } = this.device;
    if (queueCount === 0 || queueCount > queues) {
      throw new VhostError('EINVAL', `inflight memory for ${queueCount} queues of ${queues}`);
    }
    if (queueSize === 0 || queueSize > maxQueueSize) {
      throw new VhostError(
        'EINVAL',
        `inflight memory for queues of ${queueSize} entries, at most ${maxQueueSize}`,
      );
    }
  }

  get #packed(): boolean {
    return (this.device.features & FEATURE.RING_PACKED) !== 0n;
  }
}

/** The memory's offset in its file need not be a page's, but its numbers must be aligned in it. */
function map({ mmapSize, mmapOffset }: InflightDescription, size: number, fd: number) {
  const end = mmapOffset + mmapSize;
  if (!Number.isSafeInteger(end) || mmapOffset % 8 !== 0) {
    throw new VhostError('EINVAL', `inflight memory: ${mmapSize} bytes at byte ${mmapOffset}`);
  }
  const { kind, size: fileSize } = fileStatus(fd);
  if (kind !== 'regular' || fileSize < end) {
    throw new VhostError(
      'EINVAL',
      `inflight memory: a ${kind} file of ${fileSize} bytes, it needs ${end}`,
    );
  }
  const inPage = mmapOffset % PAGE;
  const mapping = mapShared(fd, mmapOffset - inPage, inPage + size);
  return { mapping, bytes: new Uint8Array(mapping.windows[0] as ArrayBuffer, inPage, size) };
}
