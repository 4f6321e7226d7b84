import type { VirtqueueFactory } from '../virtqueue.js';
import { SplitRing } from './split-ring.js';
import { SplitVirtqueue } from './split-virtqueue.js';

/** Split virtqueues. */
export const SPLIT_VIRTQUEUES: VirtqueueFactory = {
  check(table, addresses, size) {
    new SplitRing(table, addresses, size);
  },
  create(table, addresses, size, features, nextAvailable, log) {
    return new SplitVirtqueue(new SplitRing(table, addresses, size), features, nextAvailable, log);
  },
};
