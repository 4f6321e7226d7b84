import fc from 'fast-check';
import type { PackedSabotage, PackedState } from './packed-state.js';
import { HOSTILE_TABLE_ENTRIES, type HostileMemory } from './ring-state.js';
import {
  hostileAddress,
  hostileChain,
  hostileLength,
  type RingPurpose,
  wildFlags,
  wildIndex,
} from './ring-state-arbitrary.js';

/** One field of a packed ring's memory, overwritten with anything. */
export function packedSabotage(memory: HostileMemory, size: number): fc.Arbitrary<PackedSabotage> {
  const fields = fc.oneof(
    fc.record({ address: hostileAddress(memory) }),
    fc.record({ length: hostileLength }),
    fc.record({ flags: wildFlags }),
    fc.record({ id: wildIndex(size) }),
  );
  const steps = fc.nat(2 * size);
  const word = fc.oneof(fc.nat(0xffff_ffff), fc.constantFrom(0x1_0000, 0x2_0000, 0x3_0000));
  const target = <const T extends string>(name: T) => fc.constant(name);
  return fc.oneof(
    { arbitrary: fc.record({ target: target('descriptor'), steps, fields }), weight: 8 },
    {
      // Rings that seem full, chains that never end, descriptors that come round too early.
      arbitrary: fc.record({
        target: target('available'),
        steps,
        flags: fc.constantFrom(0, 1, 2, 3, 4, 5),
        stale: fc.boolean(),
      }),
      weight: 6,
    },
    {
      arbitrary: fc.record({
        target: target('table'),
        table: fc.nat(memory.tables.length),
        index: fc.nat(HOSTILE_TABLE_ENTRIES - 1),
        fields,
      }),
      weight: 4,
    },
    { arbitrary: fc.record({ target: target('driver event'), value: word }), weight: 2 },
    { arbitrary: fc.record({ target: target('device event'), value: word }), weight: 1 },
  );
}

/** As {@link hostileRingState}, for a packed ring. */
export function hostilePackedState(
  memory: HostileMemory,
  size: number,
  purpose: RingPurpose,
): fc.Arbitrary<PackedState> {
  const sabotage = packedSabotage(memory, size);
  const whole = fc.integer({ min: 0, max: size - 1 }).map((end) =>
    // Every entry of the ring available at once: one chain, or as many as there are entries.
    Array.from({ length: size }, (_, steps) => ({
      target: 'available' as const,
      steps,
      flags: steps < end ? 1 : 0,
      stale: false,
    })),
  );
  return fc.record({
    firstId: fc.nat(size - 1),
    chains: fc.array(hostileChain(memory, purpose), { maxLength: 4 }),
    before: fc.oneof(
      { arbitrary: fc.constant([]), weight: 4 },
      { arbitrary: fc.array(sabotage, { maxLength: 4 }), weight: 4 },
      { arbitrary: whole, weight: 1 },
    ),
    during: fc.array(sabotage, { maxLength: 3 }),
  });
}
