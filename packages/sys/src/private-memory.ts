import type { MemoryMapping } from '@rxvhost/core';
import { closeFd, createMemfd } from './files.js';
import { mapShared } from './shared-mapping.js';

/**
 * Memory of this process's own that native code reaches too: what a backend's `allocate` answers.
 * @param bytes - at least 1
 * @returns the mapping, which the caller owns. Throws `ENOMEM`, `EMFILE`
 */
export function privateMemory(bytes: number): MemoryMapping {
  const fd = createMemfd('rxvhost-frames', bytes);
  try {
    return mapShared(fd, 0, bytes);
  } finally {
    closeFd(fd);
  }
}
