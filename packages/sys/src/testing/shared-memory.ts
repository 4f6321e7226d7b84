import type { MemoryMapping } from '@rxvhost/core';
import { closeFd, createMemfd } from '../files.js';
import { mapShared } from '../shared-mapping.js';

const DEFAULT_BYTES = 2 << 20;

/** Memory of a file that nobody else knows, as a guest's would be: native code reaches it. */
export function sharedMemory(bytes = DEFAULT_BYTES): MemoryMapping {
  const fd = createMemfd('shared-memory', bytes);
  try {
    return mapShared(fd, 0, bytes);
  } finally {
    closeFd(fd);
  }
}
