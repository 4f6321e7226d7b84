import fc from 'fast-check';
import t from 'tap';
import type { HostileMemory } from '../../src/hostile/index.js';
import type { GuestMemoryArena } from '../../src/index.js';
import { footprint } from './footprint.js';
import {
  type Attack,
  HostileArena,
  type HostileConfiguration,
  type HostileRing,
} from './hostile-arena.js';
import { turn } from './nics.js';

/** More than the 100,000 that every run tries, for a long one: RXVHOST_HOSTILE_STATES=1000000. */
const STATES = Number(process.env['RXVHOST_HOSTILE_STATES'] ?? 100_000);
/** To see a failure again: RXVHOST_HOSTILE_SEED, as printed. */
const SEED = Number(process.env['RXVHOST_HOSTILE_SEED'] ?? Date.now() & 0x7fff_ffff);

/** A ring layout, and what may be done to it. */
export interface HostileLayout<Sabotage, State extends { readonly during: readonly Sabotage[] }> {
  /** Hazards that the states are about, as the title's ids. */
  readonly ids: string;
  readonly name: string;
  /** Entries in each ring. */
  readonly size: number;
  /** Feature bits that the layout needs. */
  readonly features: bigint;
  makeRing(guest: GuestMemoryArena, aims: HostileMemory): HostileRing<Sabotage, State>;
  states(aims: HostileMemory, size: number, purpose: 'transmit' | 'receive'): fc.Arbitrary<State>;
}

const CONFIGURATIONS: readonly HostileConfiguration[] = [false, true].flatMap((eventIndex) =>
  [false, true].flatMap((indirect) =>
    ([0, 12] as const).map((headerLength) => ({
      eventIndex,
      indirect,
      headerLength,
      // The two have nothing to do with each other: half of the runs are enough for each.
      inOrder: headerLength === 12,
    })),
  ),
);

/** Tries random states of hostile rings, under every configuration. */
export function tryHostileRings<Sabotage, State extends { readonly during: readonly Sabotage[] }>(
  layout: HostileLayout<Sabotage, State>,
): void {
  t.setTimeout(Math.max(120_000, STATES * 2));
  for (const [position, configuration] of CONFIGURATIONS.entries()) {
    const { eventIndex, indirect, headerLength } = configuration;
    const name = `EVENT_IDX ${eventIndex}, INDIRECT_DESC ${indirect}, header of the ${headerLength === 0 ? 'device' : 'backend, in order'}`;
    t.test(
      `${layout.ids} random states of ${layout.name} rings harm nobody: ${name}`,
      async (t) => {
        const numRuns = Math.ceil(STATES / CONFIGURATIONS.length);
        const seed = SEED + position;
        const arena = new HostileArena<Sabotage, State>(
          configuration,
          layout.features,
          layout.makeRing,
        );
        // Let every queue begin: what a fresh one writes is not what is watched here.
        await turn(4);
        const escaped: unknown[] = [];
        const onEscape = (error: unknown) => escaped.push(error);
        process.on('uncaughtException', onEscape);
        const attack = (purpose: 'transmit' | 'receive'): fc.Arbitrary<Attack<State>> =>
          fc.record({
            state: layout.states(arena.aims, layout.size, purpose),
            taken: fc.nat(4),
            // Frames for the other queue would be written while we watch this one write nothing.
            frames:
              purpose === 'transmit'
                ? fc.constant([])
                : fc.array(fc.nat(3000), { minLength: 1, maxLength: 3 }),
          });
        const started = process.cpuUsage();
        const before = footprint();
        try {
          await fc.assert(
            fc.asyncProperty(
              fc.oneof(
                fc.tuple(fc.constant(1 as const), attack('transmit')),
                fc.tuple(fc.constant(0 as const), attack('receive')),
              ),
              async ([index, attack]) => {
                const wrong = await arena.attack(index, attack);
                if (wrong !== undefined) throw new Error(wrong);
                if (escaped.length > 0) throw escaped[0];
              },
            ),
            { numRuns, seed },
          );
        } finally {
          process.off('uncaughtException', onEscape);
          const { user, system } = process.cpuUsage(started);
          console.error(
            `hostile run: seed ${seed}, ${numRuns} states, ${arena.faults} faults reported, ${arena.resets} resets, ` +
              `${arena.socket.sent} frames sent and ${arena.socket.received} received, ` +
              `${Math.round((user + system) / 1000)} ms of CPU, longest turn ${arena.longestTurn.toFixed(1)} ms; ` +
              `before: ${before}; after: ${footprint()}`,
          );
        }
        t.ok(arena.faults > numRuns / 10, 'many states are faults');
        t.ok(arena.socket.sent > numRuns / 50, 'many send frames all the same');
        t.ok(arena.socket.received > numRuns / 50, 'and many receive some');
        await arena.close();
      },
    );
  }
}
