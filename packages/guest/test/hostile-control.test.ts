/** Random states of the control queue's ring, and random commands in it. */
import { LocalEvent, loopback, type PacketBatch, type PacketSocket, VhostNet } from '@rxvhost/core';
import fc from 'fast-check';
import { BehaviorSubject, map, NEVER } from 'rxjs';
import t from 'tap';
import {
  applyRingState,
  applySabotage,
  HOSTILE_TABLE_BYTES,
  type HostileDescriptor,
  type HostileMemory,
  HostileQueue,
  hostileRingState,
  type RingState,
} from '../src/hostile/index.js';
import {
  DRIVER_CONTROL,
  GuestMemoryArena,
  NumberedFrameChecker,
  NumberedFrames,
  vringAddresses,
} from '../src/index.js';
import { plainRegion } from './support/arena.js';
import { footprint } from './support/footprint.js';
import { GuardedMemory } from './support/guarded-memory.js';
import { type HonestPair, plugHonestPair } from './support/honest-pair.js';
import { MODERN, turn } from './support/nics.js';

/** More than the 20,000 that every run tries, for a long one: RXVHOST_HOSTILE_STATES=1000000. */
const STATES = Number(process.env['RXVHOST_HOSTILE_STATES'] ?? 20_000);
/** To see a failure again: RXVHOST_HOSTILE_SEED, as printed. */
const SEED = Number(process.env['RXVHOST_HOSTILE_SEED'] ?? Date.now() & 0x7fff_ffff);
const RING_SIZE = 16;
const PAIRS = 4;
const CONTROL = 2 * PAIRS;
t.setTimeout(Math.max(120_000, STATES * 2));

const LOW = 0x10_0000;
const PLACES = [
  { guestAddress: LOW, userAddress: 0x7f00_0000_0000, size: 32768 },
  { guestAddress: LOW + 32768, userAddress: 0x7e00_0000_0000, size: 8192 },
];
const HONEST = plainRegion(0x5a5a_5a5a_0000, 0x3300_0000_0000, 1 << 20);

/** Commands that mean something, and others: class, command, and the beginning of the data. */
const commandBytes = fc.tuple(
  fc.nat(6),
  fc.nat(6),
  fc.oneof(
    fc.uint8Array({ maxLength: 400 }),
    fc.constant(Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0)),
    fc.constant(Uint8Array.of(1, 0)),
    fc.constant(Uint8Array.of(4, 0)),
    fc.constant(rss([0, 1, 2, 3])),
    fc.constant(rss([3, 3])),
  ),
);

/** Data of an RSS_CONFIG that is as it should be. */
function rss(table: readonly number[]): Uint8Array {
  const entries = table.flatMap((pair) => [pair, 0]);
  const key = new Array(40).fill(0x6d);
  return Uint8Array.of(0x3f, 0, 0, 0, table.length - 1, 0, 0, 0, ...entries, 4, 0, 40, ...key);
}

/** A backend that has one frame whenever it is told so. */
class FrameSource implements PacketSocket {
  readonly headerLength = 0;
  readonly #readable = new BehaviorSubject(undefined);
  readonly readable$ = this.#readable.pipe(map(() => undefined));
  readonly writable$ = NEVER;
  #frame: Uint8Array | undefined;

  give(frame: Uint8Array): void {
    this.#frame = frame;
    this.#readable.next(undefined);
  }

  send(batch: PacketBatch, first: number): number {
    return batch.count - first;
  }

  receive(batch: PacketBatch): number {
    if (this.#frame === undefined || batch.deliver(this.#frame) !== 'delivered') return 0;
    this.#frame = undefined;
    return 1;
  }

  close(): void {}
}

/** A device whose guest attacks its control queue, beside one that nobody attacks. */
class Arena {
  readonly memory = new GuardedMemory(PLACES);
  readonly guest = new GuestMemoryArena(this.memory.regions);
  readonly aims: HostileMemory;
  readonly queue: HostileQueue;
  readonly kick = new LocalEvent();
  readonly sources = Array.from({ length: PAIRS }, () => new FrameSource());
  readonly device = new VhostNet({ backends: this.sources, controlQueue: true });
  readonly other = new VhostNet({ backends: loopback() });
  readonly frames = new NumberedFrames(new Uint8Array(6), new Uint8Array(6));
  readonly checker = new NumberedFrameChecker();
  readonly honest: HonestPair;
  readonly #drivers: readonly HonestPair[];
  faults = 0;

  constructor() {
    this.aims = { regions: PLACES, tables: [this.guest.allocate(HOSTILE_TABLE_BYTES, 16)] };
    this.queue = new HostileQueue(this.guest, RING_SIZE);
    this.device.errors$.subscribe(() => {
      this.faults += 1;
    });
    this.device.setOwner();
    this.device.setFeatures(MODERN | (DRIVER_CONTROL & this.device.offeredFeatures));
    const region = plainRegion(0x7777_0000_0000, 0x4400_0000_0000, 1 << 20);
    this.device.setMemoryRegions([...this.memory.regions, region]);
    const arena = new GuestMemoryArena([region]);
    this.#drivers = this.sources.map((_, pair) =>
      plugHonestPair(this.device, pair, arena, new NumberedFrameChecker()),
    );
    this.device.setVringSize(CONTROL, RING_SIZE);
    this.device.setVringAddresses(CONTROL, vringAddresses(this.guest, this.queue));
    this.device.setVringKick(CONTROL, this.kick);
    this.device.setVringCall(CONTROL, new LocalEvent());
    this.device.runQueue(CONTROL, 'running');
    this.other.setOwner();
    this.other.setFeatures(MODERN);
    this.other.setMemoryRegions([HONEST]);
    this.honest = plugHonestPair(this.other, 0, new GuestMemoryArena([HONEST]), this.checker);
  }

  /** One state, with commands in the buffers that it reads; what went wrong, if something did. */
  async attack(state: RingState, commands: readonly Uint8Array[]): Promise<string | undefined> {
    const base = this.device.vringBase(CONTROL);
    for (const [at, { descriptors }] of state.chains.entries()) {
      const command = commands[at % commands.length];
      const [first] = descriptors;
      if (command !== undefined && first !== undefined) this.#write(first, command);
    }
    applyRingState(this.queue, this.aims, state, base);
    this.kick.signal();
    for (const [pair, source] of this.sources.entries()) source.give(this.frames.make(60 + pair));
    const expected = this.checker.intact + 1;
    this.honest.driver.send(this.frames.make(64));
    for (let round = 0; round < 3 || (this.checker.intact < expected && round < 50); round += 1) {
      const sabotage = state.during[round];
      if (sabotage !== undefined) applySabotage(this.queue, this.aims, sabotage, base);
      await turn();
    }
    if (this.checker.intact !== expected) return 'the other device is not served';
    return this.memory.intact ? undefined : 'a guard zone was written to';
  }

  /** Puts a command where a descriptor says, as far as that is memory. */
  #write({ address }: HostileDescriptor, command: Uint8Array): void {
    const at = Number(address);
    const place = PLACES.find(
      ({ guestAddress, size }) => at >= guestAddress && at + command.length <= guestAddress + size,
    );
    const { descriptorTable, usedRing } = this.queue.addresses;
    const inRing = at + command.length > descriptorTable && at < usedRing + 8 * RING_SIZE + 6;
    if (place !== undefined && !inRing) this.guest.write(at, command);
  }

  async close(): Promise<void> {
    await this.device.close();
    await this.other.close();
    for (const driver of [...this.#drivers, this.honest]) driver.close();
  }
}

t.test('T38b random states of the control queue, and random commands, harm nobody', async (t) => {
  const arena = new Arena();
  const escaped: unknown[] = [];
  const onEscape = (error: unknown) => escaped.push(error);
  process.on('uncaughtException', onEscape);
  const before = footprint();
  try {
    await fc.assert(
      fc.asyncProperty(
        hostileRingState(arena.aims, RING_SIZE, 'control'),
        fc.array(commandBytes, { minLength: 1, maxLength: 4 }),
        async (state, commands) => {
          const wrong = await arena.attack(
            state,
            commands.map(([commandClass, command, data]) =>
              Uint8Array.of(commandClass, command, ...data),
            ),
          );
          if (wrong !== undefined) throw new Error(wrong);
          if (escaped.length > 0) throw escaped[0];
        },
      ),
      { numRuns: STATES, seed: SEED },
    );
  } finally {
    process.off('uncaughtException', onEscape);
    const control = arena.device.statistics().queues.at(-1);
    console.error(
      `hostile control queue: seed ${SEED}, ${STATES} states, ${arena.faults} faults, ` +
        `${control?.frames} commands obeyed, ${control?.drops.refused} refused; ` +
        `before: ${before}; after: ${footprint()}`,
    );
    t.ok((control?.frames ?? 0) > STATES / 100, 'some commands are obeyed');
    t.ok((control?.drops.refused ?? 0) > STATES / 100, 'some are refused');
  }
  t.ok(arena.faults > STATES / 20, 'many states are faults');
  await arena.close();
});
