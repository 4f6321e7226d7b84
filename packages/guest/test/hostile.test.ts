import {
  applyRingState,
  applySabotage,
  HostileQueue,
  hostileRingState,
  type RingState,
  type Sabotage,
} from '../src/hostile/index.js';
import { tryHostileRings } from './support/hostile-runs.js';

const SIZE = 16;

tryHostileRings<Sabotage, RingState>({
  ids: 'T30 T31 T32 T33 T34 T35 T36 T38 T43',
  name: 'split',
  size: SIZE,
  features: 0n,
  makeRing(guest, aims) {
    const queue = new HostileQueue(guest, SIZE);
    return {
      size: SIZE,
      addresses: queue.addresses,
      written: [[queue.addresses.usedRing, 6 + 8 * SIZE]],
      apply: (state, base) => applyRingState(queue, aims, state, base),
      sabotage: (sabotage, base) => applySabotage(queue, aims, sabotage, base),
      // Chains that are lost leave no trace in the indices.
      isUsable: () => true,
      clear() {},
    };
  },
  states: hostileRingState,
});
