import { FEATURE, LocalEvent, loopback, VhostNet } from '@rxvhost/core';
import { HOSTILE_TABLE_BYTES, type HostileMemory } from '../../src/hostile/index.js';
import {
  GuestMemoryArena,
  NumberedFrameChecker,
  NumberedFrames,
  type QueueAddresses,
  vringAddresses,
} from '../../src/index.js';
import { plainRegion } from './arena.js';
import { GuardedMemory } from './guarded-memory.js';
import { type HonestPair, plugHonestPair } from './honest-pair.js';
import { turn } from './nics.js';
import { type SocketBehaviour, SuspiciousSocket } from './suspicious-socket.js';

const LONGEST_TURN = 50;
/** What the NIC under attack has negotiated, and what its backend is like. */
export interface HostileConfiguration {
  readonly eventIndex: boolean;
  readonly indirect: boolean;
  readonly headerLength: 0 | 12;
  readonly inOrder: boolean;
}

/** A ring in a layout of its own, whose driver may write anything. */
export interface HostileRing<Sabotage, State> {
  readonly size: number;
  readonly addresses: QueueAddresses;
  /** What a device may write that only reads buffers: addresses and bytes. */
  readonly written: readonly (readonly [number, number])[];
  /** Writes a state from the device's base on. */
  apply(state: State, base: number): void;
  sabotage(sabotage: Sabotage, base: number): void;
  /** False once so much is lost in the ring that little more can happen there. */
  isUsable(base: number): boolean;
  /** As after a reset by the driver. */
  clear(): void;
}

/** A state, and what the backend does meanwhile. */
export interface Attack<State> extends SocketBehaviour {
  readonly state: State;
}

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

/** Two hostile rings and an honest queue pair on one NIC, and everything that must stay as it is. */
export class HostileArena<Sabotage, State extends { readonly during: readonly Sabotage[] }> {
  readonly memory = new GuardedMemory(PLACES);
  readonly guest = new GuestMemoryArena(this.memory.regions);
  readonly rings: readonly HostileRing<Sabotage, State>[];
  readonly kicks: readonly LocalEvent[];
  readonly aims: HostileMemory;
  readonly socket: SuspiciousSocket;
  readonly device: VhostNet;
  readonly honest: HonestPair;
  readonly frames = new NumberedFrames(new Uint8Array(6), new Uint8Array(6));
  readonly checker = new NumberedFrameChecker();
  longestTurn = 0;
  faults = 0;
  /** Times that a ring had to be reset. */
  resets = 0;
  #slowest = 0;

  constructor(
    { eventIndex, indirect, headerLength, inOrder }: HostileConfiguration,
    rings: bigint,
    makeRing: (guest: GuestMemoryArena, aims: HostileMemory) => HostileRing<Sabotage, State>,
  ) {
    // One table across the border of the regions that touch, the others inside one.
    const straddling = LOW + 32768 - 40;
    this.guest.allocateAt(straddling, 1 + 39);
    this.guest.allocateAt(LOW + 32768, HOSTILE_TABLE_BYTES - 40);
    const inside = [0, 2].map((region) => this.guest.allocate(HOSTILE_TABLE_BYTES, 16, region));
    this.aims = { regions: PLACES, tables: [straddling, ...inside] };
    this.rings = [0, 1].map(() => makeRing(this.guest, this.aims));
    this.kicks = [0, 1].map(() => new LocalEvent());
    this.socket = new SuspiciousSocket(this.memory, headerLength);
    this.device = new VhostNet({ backends: [this.socket, loopback()] });
    this.device.errors$.subscribe(() => {
      this.faults += 1;
    });
    this.device.setOwner();
    this.device.setFeatures(
      FEATURE.VERSION_1 |
        rings |
        (inOrder ? FEATURE.IN_ORDER : 0n) |
        (eventIndex ? FEATURE.EVENT_IDX : 0n) |
        (indirect ? FEATURE.INDIRECT_DESC : 0n),
    );
    this.device.setMemoryRegions([...this.memory.regions, HONEST]);
    for (const [index, ring] of this.rings.entries()) {
      this.device.setVringSize(index, ring.size);
      this.device.setVringAddresses(index, vringAddresses(this.guest, ring));
      this.device.setVringKick(index, this.kicks[index]);
      this.device.setVringCall(index, new LocalEvent());
      this.device.runQueue(index, 'running');
    }
    this.honest = plugHonestPair(this.device, 1, new GuestMemoryArena([HONEST]), this.checker);
  }

  /** One state on queue `index`, and what went wrong. */
  async attack(index: 0 | 1, attack: Attack<State>): Promise<string | undefined> {
    for (let tries = 0; tries < 3; tries += 1) {
      this.#slowest = 0;
      const wrong = await this.#attackOnce(index, attack);
      this.longestTurn = Math.max(this.longestTurn, this.#slowest);
      if (wrong !== undefined || this.#slowest <= LONGEST_TURN) return wrong;
      // A garbage collection may fall into any turn; what the state itself costs, it costs again.
    }
    return `a turn took ${this.#slowest} ms`;
  }

  async #attackOnce(
    index: 0 | 1,
    { state, ...behaviour }: Attack<State>,
  ): Promise<string | undefined> {
    const ring = this.rings[index] as HostileRing<Sabotage, State>;
    const base = this.#baseOf(index, ring);
    const during = [...state.during];
    this.socket.behave(behaviour);
    ring.apply(state, base);
    this.socket.meanwhile = () => {
      const sabotage = during.shift();
      if (sabotage !== undefined) ring.sabotage(sabotage, base);
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
    if (before !== undefined) return this.#compare(before, ring);
    return undefined;
  }

  /** The device's base; a ring that is used up is reset by its driver first, as only that one queue. */
  #baseOf(index: number, ring: HostileRing<Sabotage, State>): number {
    const base = this.device.vringBase(index);
    if (ring.isUsable(base)) return base;
    this.resets += 1;
    this.device.runQueue(index, 'stopped');
    ring.clear();
    this.device.setVringBase(index, undefined);
    this.device.runQueue(index, 'running');
    return this.device.vringBase(index);
  }

  /** A transmit queue's device writes what its ring is for, and nothing else. */
  #compare(before: Buffer, ring: HostileRing<Sabotage, State>): string | undefined {
    const after = this.memory.snapshot();
    for (const [address, bytes] of ring.written) {
      const start = this.memory.offsetOf(address);
      before.fill(0, start, start + bytes);
      after.fill(0, start, start + bytes);
    }
    return before.equals(after) ? undefined : 'transmit wrote outside what is its to write';
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
