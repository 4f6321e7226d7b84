import { FEATURE } from '@rxvhost/core';
import {
  applyPackedSabotage,
  applyPackedState,
  HostilePackedQueue,
  hostilePackedState,
  type PackedSabotage,
  type PackedState,
} from '../src/hostile/index.js';
import { tryHostileRings } from './support/hostile-runs.js';

/** No power of two. */
const SIZE = 13;

tryHostileRings<PackedSabotage, PackedState>({
  ids: 'T31 T32 T33 T34 T35 T36 T38 T39 T43',
  name: 'packed',
  size: SIZE,
  features: FEATURE.RING_PACKED,
  makeRing(guest, aims) {
    const queue = new HostilePackedQueue(guest, SIZE);
    const { addresses } = queue;
    return {
      size: SIZE,
      addresses,
      written: [
        [addresses.descriptorTable, 16 * SIZE],
        [addresses.usedRing, 4],
      ],
      apply: (state, base) => applyPackedState(queue, aims, state, base),
      sabotage: (sabotage, base) => applyPackedSabotage(queue, aims, sabotage, base),
      // What a fault consumes never comes back: half of the ring is enough to go on.
      isUsable: (base) => outstanding(base) <= SIZE / 2,
      clear: () => queue.clear(),
    };
  },
  states: hostilePackedState,
});

/** Descriptors between the used and the available position of a base. */
function outstanding(base: number): number {
  const [available, used] = [base & 0xffff, base >>> 16];
  const laps = available >>> 15 === used >>> 15 ? 0 : SIZE;
  return (available & 0x7fff) - (used & 0x7fff) + laps;
}
