import { VhostError } from '../../errors/vhost-error.js';
import { MAX_QUEUE_SIZE } from '../descriptor.js';
import type { VirtqueueFactory } from '../virtqueue.js';
import { availableRingBytes, descriptorTableBytes, usedRingBytes } from './split-layout.js';
import { SplitRing } from './split-ring.js';
import { SplitVirtqueue } from './split-virtqueue.js';

const MAX_INDEX = 0xffff;

/** Split virtqueues. A base is the next available index; the used index stands in the ring. */
export const SPLIT_VIRTQUEUES: VirtqueueFactory = {
  checkSize,
  checkBase,
  initialBase: () => 0,
  areas: (size) => ({
    descriptorTable: descriptorTableBytes(size),
    availableRing: availableRingBytes(size),
    usedRing: usedRingBytes(size),
  }),
  check(table, addresses, size) {
    checkSize(size);
    new SplitRing(table, addresses, size);
  },
  create(table, addresses, size, features, base, log) {
    checkSize(size);
    if (base !== undefined) checkBase(base);
    return new SplitVirtqueue(new SplitRing(table, addresses, size), features, base, log);
  },
};

function checkSize(size: number): void {
  if (size >= 1 && size <= MAX_QUEUE_SIZE && Number.isInteger(Math.log2(size))) return;
  throw new VhostError(
    'EINVAL',
    `queue size ${size} is not a power of two up to ${MAX_QUEUE_SIZE}`,
  );
}

function checkBase(base: number): void {
  if (Number.isInteger(base) && base >= 0 && base <= MAX_INDEX) return;
  throw new VhostError('EINVAL', `base ${base} is not within 0 … ${MAX_INDEX}`);
}
