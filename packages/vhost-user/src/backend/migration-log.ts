import { DirtyLog, FEATURE, VhostError, type VirtioDevice } from '@rxvhost/core';
import { fileStatus, mapShared } from '@rxvhost/sys';
import type { LogDescription } from '../protocol/payloads.js';

const PAGE = 4096;

/**
 * The dirty log as a front-end shares it (SET_LOG_BASE), and LOG_ALL, which a device takes only
 * together with a log. A driver that starts while its guest is being migrated makes QEMU send
 * SET_FEATURES first and the log after the rings, so LOG_ALL waits here for the log.
 */
export class MigrationLog {
  #present = false;
  #waiting = false;

  constructor(private readonly device: VirtioDevice) {}

  /**
   * Gives the features to the device, LOG_ALL when there is a log.
   * @param logFollows - whether a log may come later, rather than LOG_ALL be refused (seed A4)
   */
  setFeatures(features: bigint, logFollows: boolean): void {
    const waits = (features & FEATURE.LOG_ALL) !== 0n && !this.#present && logFollows;
    this.device.setFeatures(waits ? features & ~FEATURE.LOG_ALL : features);
    this.#waiting = waits;
  }

  /** Maps the log and gives it to the device. `fd` is only looked at. */
  set(description: LogDescription, fd: number): void {
    this.device.setLog(mapLog(description, fd));
    this.#present = true;
    if (!this.#waiting) return;
    this.device.setFeatures(this.device.features | FEATURE.LOG_ALL);
    this.#waiting = false;
  }
}

/** The log's offset in its file need not be a page's. */
function mapLog({ mmapSize, mmapOffset }: LogDescription, fd: number): DirtyLog {
  const end = mmapOffset + mmapSize;
  if (mmapSize === 0 || !Number.isSafeInteger(end)) {
    throw new VhostError('EINVAL', `dirty log of ${mmapSize} bytes from byte ${mmapOffset} on`);
  }
  const { kind, size } = fileStatus(fd);
  if (kind !== 'regular' || size < end) {
    throw new VhostError('EINVAL', `dirty log: a ${kind} file of ${size} bytes, it needs ${end}`);
  }
  const offset = mmapOffset % PAGE;
  return new DirtyLog(mapShared(fd, mmapOffset - offset, offset + mmapSize), offset);
}
