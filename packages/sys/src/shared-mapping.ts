/**
 * Memory that another process shares with us through an fd, as `ArrayBuffer` windows.
 *
 * A view must die before its mapping does, or the next read of it ends the process. So `release()`
 * detaches every window first (all views of them are zero bytes long from then on), then unmaps,
 * once. A mapping that nobody releases goes when the garbage collector has freed its last window.
 *
 * A file may be truncated while it is mapped. Touching what it has lost raises SIGBUS; a guard in the
 * native part then puts zero pages there and `broken$` tells (hazard T20, `native/memory_guard.h`).
 */
import { type MemoryMapping, VhostError, WINDOW_SIZE, WINDOW_STRIDE } from '@rxvhost/core';
import { Observable, type Subscriber } from 'rxjs';
import { breakWatch } from './break-watch.js';
import { check, checkFd, failure } from './failure.js';
import { type Handle, loadNative, type Native } from './native.js';

const NO_EXTERNAL_BUFFERS = -95;
const REGULAR_FILE = 0o100000;
const TYPE_MASK = 0o170000;

class SharedMapping implements MemoryMapping {
  readonly broken$ = new Observable<void>((subscriber) => this.#watch(subscriber));

  readonly #native: Native;
  #handle: Handle<'mapping'> | undefined;
  readonly #watchers = new Set<Subscriber<void>>();

  constructor(
    native: Native,
    handle: Handle<'mapping'>,
    readonly size: number,
    readonly windows: readonly ArrayBuffer[],
    readonly address: number,
  ) {
    this.#native = native;
    this.#handle = handle;
  }

  release(): void {
    const handle = this.#handle;
    if (handle === undefined) return;
    this.#handle = undefined;
    for (const watcher of [...this.#watchers]) watcher.complete();
    this.#native.unmapShared(handle, this.windows);
  }

  #watch(subscriber: Subscriber<void>): (() => void) | undefined {
    const handle = this.#handle;
    if (handle === undefined) {
      subscriber.complete();
      return undefined;
    }
    if (this.#native.mappingBroken(handle)) {
      tell(subscriber);
      return undefined;
    }
    if (this.#watchers.size === 0) {
      breakWatch.watch(handle, () => {
        for (const watcher of [...this.#watchers]) tell(watcher);
      });
    }
    this.#watchers.add(subscriber);
    return () => {
      this.#watchers.delete(subscriber);
      if (this.#watchers.size === 0) breakWatch.forget(handle);
    };
  }
}

function tell(subscriber: Subscriber<void>): void {
  subscriber.next();
  subscriber.complete();
}

/**
 * Maps bytes `offset … offset + size - 1` of `fd`, shared and writable. The fd may be closed
 * afterwards; the mapping keeps the file.
 *
 * @param fd - a memfd, a file, a hugetlbfs file, a device that can be mapped
 * @param offset - bytes; a multiple of the page size (of the huge page size on hugetlbfs)
 * @param size - bytes, at least 1
 * @returns the mapping, which the caller owns. Throws `EINVAL` where a regular file ends before
 * `offset + size` (hazard T20) or the offset is not
 * aligned, `EBADF`, `EACCES`, `ENODEV`, `ENOMEM`; `EOPNOTSUPP` on JavaScript engines that refuse
 * external buffers (hazard T91)
 */
export function mapShared(fd: number, offset: number, size: number): MemoryMapping {
  return mapThrough(loadNative(), fd, offset, size);
}

/** The same through an addon that may be another's, such as one without external buffers. */
export function mapThrough(
  native: Native,
  fd: number,
  offset: number,
  size: number,
): MemoryMapping {
  const what = `map ${size} bytes at offset ${offset} of fd ${fd}`;
  checkFd(fd, what);
  checkRange(native, fd, offset, size, what);
  const out: (ArrayBuffer | number)[] = [];
  const handle = native.mapShared(fd, offset, size, WINDOW_STRIDE, WINDOW_SIZE, out);
  if (handle === NO_EXTERNAL_BUFFERS) {
    throw new VhostError(
      'EOPNOTSUPP',
      `${what}: this JavaScript engine refuses external ArrayBuffers; ` +
        'run under plain Node (not Electron, no pointer compression, no V8 sandbox)',
    );
  }
  if (typeof handle === 'number') throw failure(handle, what);
  const windows = out.filter((item) => item instanceof ArrayBuffer);
  const address = out.find((item) => typeof item === 'number') ?? 0;
  return new SharedMapping(native, handle, size, windows, address);
}

function checkRange(native: Native, fd: number, offset: number, size: number, what: string): void {
  if (!Number.isSafeInteger(size) || size < 1) {
    throw new VhostError('EINVAL', `${what}: the size is not 1 … 2^53 - 1`);
  }
  if (!Number.isSafeInteger(offset) || offset < 0 || !Number.isSafeInteger(offset + size)) {
    throw new VhostError('EINVAL', `${what}: the offset or the end is not below 2^53`);
  }
  const fields = new Float64Array(5);
  check(native.fileStatus(fd, fields), what);
  const [mode = 0, fileSize = 0] = fields;
  if ((mode & TYPE_MASK) === REGULAR_FILE && offset + size > fileSize) {
    throw new VhostError(
      'EINVAL',
      `${what}: that ends at byte ${offset + size}, the file has ${fileSize} bytes`,
    );
  }
  const page = native.filePageSize(fd);
  if (offset % page !== 0) {
    throw new VhostError('EINVAL', `${what}: the offset is not a multiple of ${page}`);
  }
}
