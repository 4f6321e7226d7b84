import { FEATURE, LocalEvent, loopback, VhostNet } from '@rxvhost/core';
import fc from 'fast-check';
import t from 'tap';
import {
  applyRingState,
  applySabotage,
  HOSTILE_TABLE_BYTES,
  type HostileMemory,
  HostileQueue,
  hostileRingState,
  type RingState,
} from '../src/hostile/index.js';
import {
  GuestMemoryArena,
  NumberedFrameChecker,
  NumberedFrames,
  vringAddresses,
} from '../src/index.js';
import { plainRegion } from './support/arena.js';
import { GuardedMemory } from './support/guarded-memory.js';
import { type HonestPair, plugHonestPair } from './support/honest-pair.js';
import { turn } from './support/nics.js';
import { type SocketBehaviour, SuspiciousSocket } from './support/suspicious-socket.js';

/** More than the 100,000 that every run tries, for a long one: RXVHOST_HOSTILE_STATES=1000000. */
const STATES = Number(process.env['RXVHOST_HOSTILE_STATES'] ?? 100_000);
/** To see a failure again: RXVHOST_HOSTILE_SEED, as printed. */
const SEED = Number(process.env['RXVHOST_HOSTILE_SEED'] ?? Date.now() & 0x7fff_ffff);
const LONGEST_TURN = 50;
const RING_SIZE = 16;
t.setTimeout(Math.max(120_000, STATES * 2));

const LOW = 0x10_0000;
const HIGH = 2 ** 40;
/** Three regions for the hostile guest; the first two touch in guest addresses, but nowhere else. */
const PLACES = [
  { guestAddress: LOW, userAddress: 0x7f00_0000_0000, size: 32768 },
  { guestAddress: LOW + 32768, userAddress: 0x7e00_0000_0000, size: 8192 },
  { guestAddress: HIGH, userAddress: 0x5500_0000_0000, size: 16384 },
];
/** Memory of the honest queue pair, far from where the hostile one aims. */
const HONEST = plainRegion(0x5a5a_5a5a_0000, 0x3300_0000_0000, 1 << 18);

interface Configuration {
  readonly eventIndex: boolean;
  readonly indirect: boolean;
  readonly headerLength: 0 | 12;
}

interface Attack extends SocketBehaviour {
  readonly state: RingState;
}

class Arena {
  readonly memory = new GuardedMemory(PLACES);
  readonly guest = new GuestMemoryArena(this.memory.regions);
  readonly queues: readonly HostileQueue[];
  readonly kicks: readonly LocalEvent[];
  readonly aims: HostileMemory;
  readonly socket: SuspiciousSocket;
  readonly device: VhostNet;
  readonly honest: HonestPair;
  readonly frames = new NumberedFrames(new Uint8Array(6), new Uint8Array(6));
  readonly checker = new NumberedFrameChecker();
  longestTurn = 0;
  faults = 0;
  #slowest = 0;

  constructor({ eventIndex, indirect, headerLength }: Configuration) {
    // One table across the border of the regions that touch, the others inside one.
    const straddling = LOW + 32768 - 40;
    this.guest.allocateAt(straddling, 1 + 39);
    this.guest.allocateAt(LOW + 32768, HOSTILE_TABLE_BYTES - 40);
    const inside = [0, 2].map((region) => this.guest.allocate(HOSTILE_TABLE_BYTES, 16, region));
    this.aims = { regions: PLACES, tables: [straddling, ...inside] };
    this.queues = [0, 1].map(() => new HostileQueue(this.guest, RING_SIZE));
    this.kicks = [0, 1].map(() => new LocalEvent());
    this.socket = new SuspiciousSocket(this.memory, headerLength);
    this.device = new VhostNet({ backends: [this.socket, loopback()] });
    this.device.errors$.subscribe(() => {
      this.faults += 1;
    });
    this.device.setOwner();
    this.device.setFeatures(
      FEATURE.VERSION_1 |
        (eventIndex ? FEATURE.EVENT_IDX : 0n) |
        (indirect ? FEATURE.INDIRECT_DESC : 0n),
    );
    this.device.setMemoryRegions([...this.memory.regions, HONEST]);
    for (const [index, queue] of this.queues.entries()) {
      this.device.setVringSize(index, RING_SIZE);
      this.device.setVringAddresses(index, vringAddresses(this.guest, queue));
      this.device.setVringKick(index, this.kicks[index]);
      this.device.setVringCall(index, new LocalEvent());
      this.device.runQueue(index, 'running');
    }
    this.honest = plugHonestPair(this.device, 1, new GuestMemoryArena([HONEST]), this.checker);
  }

  /** One state on queue `index`, and what went wrong. */
  async attack(index: 0 | 1, attack: Attack): Promise<string | undefined> {
    for (let tries = 0; tries < 3; tries += 1) {
      this.#slowest = 0;
      const wrong = await this.#attackOnce(index, attack);
      this.longestTurn = Math.max(this.longestTurn, this.#slowest);
      if (wrong !== undefined || this.#slowest <= LONGEST_TURN) return wrong;
      // A garbage collection may fall into any turn; what the state itself costs, it costs again.
    }
    return `a turn took ${this.#slowest} ms`;
  }

  async #attackOnce(index: 0 | 1, { state, ...behaviour }: Attack): Promise<string | undefined> {
    const queue = this.queues[index] as HostileQueue;
    const base = this.device.vringBase(index);
    const during = [...state.during];
    this.socket.behave(behaviour);
    applyRingState(queue, this.aims, state, base);
    this.socket.meanwhile = () => {
      const sabotage = during.shift();
      if (sabotage !== undefined) applySabotage(queue, this.aims, sabotage, base);
    };
    const before = index === 1 && during.length === 0 ? this.memory.snapshot() : undefined;
    this.kicks[index]?.signal();
    const expected = this.checker.intact + 1;
    this.honest.driver.send(this.frames.make(64));
    for (let round = 0; round < 3 || (this.checker.intact < expected && round < 50); round += 1) {
      if (round > 1) this.socket.meanwhile();
      await this.#timedTurn();
    }
    if (this.checker.intact !== expected || !this.checker.flawless) {
      return `the other queue pair is not served: ${JSON.stringify(this.checker)}`;
    }
    if (!this.memory.intact) return 'a guard zone was written to';
    const [violation] = this.socket.violations;
    if (violation !== undefined) return `a segment outside the regions: ${violation}`;
    if (before !== undefined) return this.#compare(before, queue);
    return undefined;
  }

  /** A transmit queue's device writes into the used ring, and nowhere else. */
  #compare(before: Buffer, queue: HostileQueue): string | undefined {
    const after = this.memory.snapshot();
    const start = this.memory.offsetOf(queue.addresses.usedRing);
    const end = start + 6 + 8 * RING_SIZE;
    const same =
      before.subarray(0, start).equals(after.subarray(0, start)) &&
      before.subarray(end).equals(after.subarray(end));
    return same ? undefined : 'transmit wrote outside its used ring';
  }

  /**
   * One turn of the event loop. Time in which the machine ran others does not count: a long turn is
   * one in which this process was busy.
   */
  async #timedTurn(): Promise<void> {
    const start = performance.now();
    const busy = process.cpuUsage();
    await turn();
    const elapsed = performance.now() - start;
    if (elapsed <= this.#slowest) return;
    const { user, system } = process.cpuUsage(busy);
    this.#slowest = Math.max(this.#slowest, Math.min(elapsed, (user + system) / 1000));
  }

  async close(): Promise<void> {
    await this.device.close();
    this.honest.close();
  }
}

const configurations = [false, true].flatMap((eventIndex) =>
  [false, true].flatMap((indirect) =>
    ([0, 12] as const).map((headerLength) => ({ eventIndex, indirect, headerLength })),
  ),
);

for (const [position, configuration] of configurations.entries()) {
  const { eventIndex, indirect, headerLength } = configuration;
  const name = `EVENT_IDX ${eventIndex}, INDIRECT_DESC ${indirect}, header of the ${headerLength === 0 ? 'device' : 'backend'}`;
  t.test(
    `T30 T31 T32 T33 T34 T35 T36 T38 T43 random ring states harm nobody: ${name}`,
    async (t) => {
      const numRuns = Math.ceil(STATES / configurations.length);
      const seed = SEED + position;
      const arena = new Arena(configuration);
      const escaped: unknown[] = [];
      const onEscape = (error: unknown) => escaped.push(error);
      process.on('uncaughtException', onEscape);
      const attack = (purpose: 'transmit' | 'receive') =>
        fc.record({
          state: hostileRingState(arena.aims, RING_SIZE, purpose),
          taken: fc.nat(4),
          // Frames for the other queue would be written while we watch this one write nothing.
          frames:
            purpose === 'transmit'
              ? fc.constant([])
              : fc.array(fc.nat(3000), { minLength: 1, maxLength: 3 }),
        });
      const started = process.cpuUsage();
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
          `hostile run: seed ${seed}, ${numRuns} states, ${arena.faults} faults reported, ` +
            `${arena.socket.sent} frames sent and ${arena.socket.received} received, ` +
            `${Math.round((user + system) / 1000)} ms of CPU, longest turn ${arena.longestTurn.toFixed(1)} ms`,
        );
      }
      t.ok(arena.faults > numRuns / 10, 'many states are faults');
      t.ok(arena.socket.sent > numRuns / 50, 'many send frames all the same');
      t.ok(arena.socket.received > numRuns / 50, 'and many receive some');
      await arena.close();
    },
  );
}
