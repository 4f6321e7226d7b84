import { DESCRIPTOR_BYTES, DESCRIPTOR_INDIRECT } from '../queue/descriptor-array.js';
import {
  type HostilePackedDescriptor,
  type HostilePackedQueue,
  writePackedDescriptor,
} from './hostile-packed-queue.js';
import { HOSTILE_TABLE_ENTRIES, type HostileChain, type HostileMemory } from './ring-state.js';

/** One field overwritten after an honest layout. Places count from the device's next position. */
export type PackedSabotage =
  | {
      readonly target: 'descriptor';
      readonly steps: number;
      readonly fields: Partial<HostilePackedDescriptor>;
    }
  /** As `descriptor`, with the flags that make it available, in this round or in the one before. */
  | {
      readonly target: 'available';
      readonly steps: number;
      readonly flags: number;
      readonly stale: boolean;
    }
  | {
      readonly target: 'table';
      readonly table: number;
      readonly index: number;
      readonly fields: Partial<HostilePackedDescriptor>;
    }
  | { readonly target: 'driver event'; readonly value: number }
  | { readonly target: 'device event'; readonly value: number };

/** Everything that a hostile driver puts into a packed ring at once, and what it does afterwards. */
export interface PackedState {
  /** The first chain's buffer id. */
  readonly firstId: number;
  readonly chains: readonly HostileChain[];
  /** Overwritten before the device is kicked. */
  readonly before: readonly PackedSabotage[];
  /** Overwritten while the device works. */
  readonly during: readonly PackedSabotage[];
}

/**
 * Writes a state into the ring.
 * @param base - the device's, from which places count
 */
export function applyPackedState(
  queue: HostilePackedQueue,
  memory: HostileMemory,
  state: PackedState,
  base: number,
): void {
  let steps = 0;
  const put = (fields: Omit<HostilePackedDescriptor, 'flags'>, flags: number) => {
    queue.setDescriptor(queue.position(base, steps), {
      ...fields,
      flags: flags | queue.turn(base, steps),
    });
    steps += 1;
  };
  for (const [number, { descriptors, table }] of state.chains.entries()) {
    const id = (state.firstId + number) % queue.size;
    const place = table === undefined ? undefined : memory.tables[table % memory.tables.length];
    if (place === undefined) {
      for (const { address, length, flags } of descriptors) put({ address, length, id }, flags);
      continue;
    }
    for (const [index, { address, length, flags }] of descriptors.entries()) {
      writePackedDescriptor(queue.arena, place, index, { address, length, id: 0, flags });
    }
    const length = descriptors.length * DESCRIPTOR_BYTES;
    put({ address: BigInt(place), length, id }, DESCRIPTOR_INDIRECT);
  }
  for (const sabotage of state.before) applyPackedSabotage(queue, memory, sabotage, base);
}

/** Overwrites one field. */
export function applyPackedSabotage(
  queue: HostilePackedQueue,
  memory: HostileMemory,
  sabotage: PackedSabotage,
  base: number,
): void {
  switch (sabotage.target) {
    case 'descriptor':
      queue.setDescriptor(queue.position(base, sabotage.steps), sabotage.fields);
      break;
    case 'available': {
      const { steps, flags, stale } = sabotage;
      const turn = queue.turn(base, steps + (stale ? queue.size : 0));
      queue.setDescriptor(queue.position(base, steps), { flags: flags | turn });
      break;
    }
    case 'table': {
      const table = memory.tables[sabotage.table % memory.tables.length];
      const index = sabotage.index % HOSTILE_TABLE_ENTRIES;
      if (table !== undefined) writePackedDescriptor(queue.arena, table, index, sabotage.fields);
      break;
    }
    case 'driver event':
      queue.driverEvent = sabotage.value;
      break;
    case 'device event':
      queue.deviceEvent = sabotage.value;
      break;
  }
}
