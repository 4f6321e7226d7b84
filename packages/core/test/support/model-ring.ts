import type { RawDescriptor, RingMemory } from './ring-memory.js';

/** Where a ring's indices begin: at their first value, or shortly before they turn over. */
export type ModelStart = 'beginning' | 'near the end';

/** Descriptors of a chain, in order; what links them is the layout's business. */
export type ModelDescriptors = readonly Omit<RawDescriptor, 'next'>[];

/** A ring in one of the layouts, as a driver by the book fills and reads it. */
export interface ModelRing {
  readonly memory: RingMemory;
  /** Empties it. Returns the base that the device is to be given. */
  begin(start: ModelStart): number;
  /** An id, below the size, for a chain of so many descriptors; undefined when there is no room. */
  claim(descriptors: number): number | undefined;
  /** Makes the chain with a claimed id available. */
  offer(id: number, descriptors: ModelDescriptors): void;
  /** Writes an indirect table at `offset` of the buffer area. */
  writeTable(offset: number, descriptors: ModelDescriptors): void;
  /** Whether the device wants to hear of what was offered since this was asked last. */
  wantsKick(eventIndex: boolean): boolean;
  /** Takes the next used chain back. Throws when it is not out. */
  takeUsed(): { readonly id: number; readonly length: number } | undefined;
  /** Asks for a call with the next used chain. */
  wantCall(eventIndex: boolean): void;
  /**
   * Where the device logs that it has used a chain, as a guest-physical address: where it was told to
   * log the used ring, or where the used descriptors lie.
   */
  usedLog(logAddress: number, shift: number): number;
}
