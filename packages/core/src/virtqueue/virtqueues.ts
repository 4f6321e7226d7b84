import { PACKED_VIRTQUEUES } from './packed/packed-virtqueues.js';
import { SPLIT_VIRTQUEUES } from './split/split-virtqueues.js';
import type { RingFeatures, VirtqueueFactory } from './virtqueue.js';

const layout = ({ packed }: RingFeatures): VirtqueueFactory =>
  packed ? PACKED_VIRTQUEUES : SPLIT_VIRTQUEUES;

/** Split or packed virtqueues, as the features say. */
export const VIRTQUEUES: VirtqueueFactory = {
  checkSize: (size, features) => layout(features).checkSize(size, features),
  checkBase: (base, features) => layout(features).checkBase(base, features),
  initialBase: (features) => layout(features).initialBase(features),
  areas: (size, features) => layout(features).areas(size, features),
  check: (table, addresses, size, features) =>
    layout(features).check(table, addresses, size, features),
  create: (table, addresses, size, features, base, log, before) =>
    layout(features).create(table, addresses, size, features, base, log, before),
};
