import { DESCRIPTOR_BYTES } from '../queue/descriptor-array.js';
import { type HostileDescriptor, type HostileQueue, writeDescriptor } from './hostile-queue.js';

/** Descriptors in each indirect table area of {@link HostileMemory}. */
export const HOSTILE_TABLE_ENTRIES = 16;

/** Where a hostile driver may aim. */
export interface HostileMemory {
  /** The guest's regions. */
  readonly regions: readonly { readonly guestAddress: number; readonly size: number }[];
  /** Guest addresses of areas for indirect tables, 16 descriptors each; they may span regions. */
  readonly tables: readonly number[];
}

/** A chain: descriptors one after the other in the ring, or in an indirect table behind one of them. */
export interface HostileChain {
  readonly descriptors: readonly HostileDescriptor[];
  /** The table area to use; `undefined` for a direct chain. */
  readonly table: number | undefined;
}

/** One field overwritten after an honest layout. */
export type Sabotage =
  | {
      readonly target: 'descriptor';
      readonly index: number;
      readonly fields: Partial<HostileDescriptor>;
    }
  | {
      readonly target: 'table';
      readonly table: number;
      readonly index: number;
      readonly fields: Partial<HostileDescriptor>;
    }
  | { readonly target: 'head'; readonly position: number; readonly value: number }
  | { readonly target: 'available index'; readonly jump: number }
  | { readonly target: 'available flags'; readonly value: number }
  | { readonly target: 'used event'; readonly value: number }
  | { readonly target: 'used index'; readonly value: number }
  | { readonly target: 'used flags'; readonly value: number }
  | { readonly target: 'avail event'; readonly value: number };

/** Everything that a hostile driver puts into a ring at once, and what it does to it afterwards. */
export interface RingState {
  /** The descriptor at which the first chain begins. */
  readonly start: number;
  readonly chains: readonly HostileChain[];
  /** Overwritten before the device is kicked. */
  readonly before: readonly Sabotage[];
  /** Overwritten while the device works. */
  readonly during: readonly Sabotage[];
}

/**
 * Writes a state into the ring.
 * @param base - the device's next available index, from which the state counts
 */
export function applyRingState(
  queue: HostileQueue,
  memory: HostileMemory,
  state: RingState,
  base: number,
): void {
  let slot = state.start;
  for (const [position, { descriptors, table }] of state.chains.entries()) {
    queue.setAvailableEntry(base + position, slot % queue.size);
    const address = table === undefined ? undefined : memory.tables[table % memory.tables.length];
    if (address !== undefined) {
      queue.setIndirect(slot % queue.size, address, descriptors);
      slot += 1;
      continue;
    }
    for (const descriptor of descriptors) {
      const next = (slot + 1) % queue.size;
      queue.setDescriptor(slot % queue.size, { ...descriptor, next });
      slot += 1;
    }
  }
  queue.availableIndex = base + state.chains.length;
  for (const sabotage of state.before) applySabotage(queue, memory, sabotage, base);
}

/** Overwrites one field. */
export function applySabotage(
  queue: HostileQueue,
  memory: HostileMemory,
  sabotage: Sabotage,
  base: number,
): void {
  switch (sabotage.target) {
    case 'descriptor':
      queue.setDescriptor(sabotage.index % queue.size, sabotage.fields);
      break;
    case 'table': {
      const table = memory.tables[sabotage.table % memory.tables.length];
      const index = sabotage.index % HOSTILE_TABLE_ENTRIES;
      if (table !== undefined) writeDescriptor(queue.arena, table, index, sabotage.fields);
      break;
    }
    case 'head':
      queue.setAvailableEntry(base + sabotage.position, sabotage.value);
      break;
    case 'available index':
      queue.availableIndex = base + sabotage.jump;
      break;
    case 'available flags':
      queue.availableFlags = sabotage.value;
      break;
    case 'used event':
      queue.usedEvent = sabotage.value;
      break;
    case 'used index':
      queue.usedIndex = sabotage.value;
      break;
    case 'used flags':
      queue.usedFlags = sabotage.value;
      break;
    case 'avail event':
      queue.availEvent = sabotage.value;
      break;
  }
}

/** Bytes of one indirect table area. */
export const HOSTILE_TABLE_BYTES = HOSTILE_TABLE_ENTRIES * DESCRIPTOR_BYTES;
