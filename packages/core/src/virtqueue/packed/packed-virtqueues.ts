import { VhostError } from '../../errors/vhost-error.js';
import { DESCRIPTOR_SIZE, MAX_QUEUE_SIZE } from '../descriptor.js';
import type { VirtqueueFactory } from '../virtqueue.js';
import {
  EVENT_BYTES,
  INITIAL_PACKED_BASE,
  outstandingIn,
  positionOf,
  unpackBase,
} from './packed-layout.js';
import { PackedRing } from './packed-ring.js';
import { PackedVirtqueue } from './packed-virtqueue.js';

const MAX_BASE = 0xffff_ffff;

/** Packed virtqueues, of any size. A base has both positions with their wrap counters. */
export const PACKED_VIRTQUEUES: VirtqueueFactory = {
  checkSize,
  checkBase,
  initialBase: () => INITIAL_PACKED_BASE,
  areas: (size) => ({
    descriptorTable: DESCRIPTOR_SIZE * size,
    availableRing: EVENT_BYTES,
    usedRing: EVENT_BYTES,
  }),
  check(table, addresses, size) {
    checkSize(size);
    new PackedRing(table, addresses, size);
  },
  create(table, addresses, size, features, base = INITIAL_PACKED_BASE, log, before) {
    checkSize(size);
    checkBase(base);
    checkInRing(base, size);
    const ring = new PackedRing(table, addresses, size);
    return new PackedVirtqueue(ring, features, base, log, before);
  },
};

function checkSize(size: number): void {
  if (Number.isInteger(size) && size >= 1 && size <= MAX_QUEUE_SIZE) return;
  throw new VhostError('EINVAL', `queue size ${size} is not within 1 … ${MAX_QUEUE_SIZE}`);
}

function checkBase(base: number): void {
  if (Number.isInteger(base) && base >= 0 && base <= MAX_BASE) return;
  throw new VhostError('EINVAL', `base ${base} is not a number of 32 bits`);
}

/** Size and base are set in any order, so that they fit each other shows only now. */
function checkInRing(base: number, size: number): void {
  const { available, used } = unpackBase(base);
  const outstanding = outstandingIn(base, size);
  const inRing = positionOf(available) < size && positionOf(used) < size;
  if (inRing && outstanding >= 0 && outstanding <= size) return;
  throw new VhostError('EINVAL', `base 0x${base.toString(16)} in a packed ring of ${size}`);
}
