import type { GuestMemoryArena } from '../memory/guest-memory-arena.js';
import { DESCRIPTOR_BYTES } from '../queue/descriptor-array.js';

/** The fields of a descriptor that are in the same place in both ring layouts: any bits at all. */
export interface RawBuffer {
  /** 64 bits. */
  readonly address: bigint;
  /** 32 bits. */
  readonly length: number;
}

/**
 * Writes some or all fields of entry `index` of a table, which may span regions.
 * @param last - the two halves of its last word, which each layout has a meaning of its own for
 */
export function writeRawDescriptor(
  arena: GuestMemoryArena,
  table: number,
  index: number,
  { address, length }: Partial<RawBuffer>,
  last: readonly [number | undefined, number | undefined],
): void {
  const at = table + index * DESCRIPTOR_BYTES;
  const bytes = arena.read(at, DESCRIPTOR_BYTES);
  const view = new DataView(bytes.buffer);
  if (address !== undefined) view.setBigUint64(0, address, true);
  if (length !== undefined) view.setUint32(8, length, true);
  for (const [half, value] of last.entries()) {
    if (value !== undefined) view.setUint16(12 + 2 * half, value, true);
  }
  arena.write(at, bytes);
}
