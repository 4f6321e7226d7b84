import { FEATURE, LocalEvent, NET_FEATURE, VhostNet } from '../../src/index.js';
import { ModelLog } from './model-log.js';
import {
  type FrameRules,
  LOGGED_BYTES,
  ModelPair,
  type ModelPairOptions,
  type ModelQueue,
} from './model-pair.js';
import type { ModelStart } from './model-ring.js';
import type { ModelSocket } from './model-socket.js';
import { ManualTurns } from './nic.js';
import { USER_BASE } from './ring-memory.js';

const LOGS_RING = 1;

/** What a run is made with. */
export interface ModelOptions extends ModelPairOptions {
  readonly pairs: 1 | 2;
  readonly version1: boolean;
  /** Whether the driver leaves checksums to the device, and takes them from it, where offered. */
  readonly checksum: boolean;
  readonly start: ModelStart;
}

/** Features that change during a run. */
export interface ModelFeatures {
  readonly eventIndex: boolean;
  readonly mergeable: boolean;
}

/** A NIC between a guest and backends, with every event in the test's hands. */
export class ModelNic {
  readonly turns = new ManualTurns();
  readonly pairs: readonly ModelPair[];
  readonly nic: VhostNet;
  readonly log = new ModelLog(LOGGED_BYTES);
  readonly faults: string[] = [];
  /** Calls that take their time. */
  readonly pending: Promise<unknown>[] = [];
  setUps = 0;
  #logging = false;
  #kicks: LocalEvent[] = [];

  constructor(readonly options: ModelOptions) {
    this.pairs = Array.from(
      { length: options.pairs },
      (_, index) => new ModelPair(index, this.turns, options),
    );
    this.nic = new VhostNet({
      backends: this.pairs.map(({ sockets }) => sockets[0]),
      turns: this.turns,
    });
    this.nic.errors$.subscribe(({ queue, error }) =>
      this.faults.push(`${queue}: ${error.message}`),
    );
    this.setUp({ eventIndex: false, mergeable: false });
  }

  /** Pair `pick`, or another one where there are fewer. */
  pair(pick: number): ModelPair {
    const pair = this.pairs[pick % this.pairs.length];
    if (pair === undefined) throw new Error('no pairs');
    return pair;
  }

  get queues(): ModelQueue[] {
    return this.pairs.flatMap(({ queues }) => queues);
  }

  get mergeable(): boolean {
    return (this.nic.features & NET_FEATURE.MRG_RXBUF) !== 0n;
  }

  get rules(): FrameRules {
    const { mergeable } = this;
    return {
      mergeable,
      headerLength: this.options.version1 || mergeable ? 12 : 10,
      checksum: (this.nic.features & NET_FEATURE.CSUM) !== 0n,
    };
  }

  features({ eventIndex, mergeable }: ModelFeatures): bigint {
    const checksum = this.options.checksum ? NET_FEATURE.CSUM | NET_FEATURE.GUEST_CSUM : 0n;
    return (
      FEATURE.INDIRECT_DESC |
      (this.options.packed ? FEATURE.RING_PACKED : 0n) |
      (this.options.version1 ? FEATURE.VERSION_1 : 0n) |
      (eventIndex ? FEATURE.EVENT_IDX : 0n) |
      (mergeable ? NET_FEATURE.MRG_RXBUF : 0n) |
      (this.#logging ? FEATURE.LOG_ALL : 0n) |
      (checksum & this.nic.offeredFeatures)
    );
  }

  /** As a front-end and a guest's driver do at the beginning. */
  setUp(features: ModelFeatures): void {
    const { nic, queues } = this;
    this.setUps += 1;
    this.#logging = false;
    nic.setOwner();
    nic.setFeatures(this.features(features));
    nic.setMemoryRegions(
      queues.map(({ guest: { ring }, shift }) => ({
        ...ring.region,
        guestAddress: ring.region.guestAddress + shift,
        userAddress: USER_BASE + shift,
      })),
    );
    nic.setLog(this.log.open());
    this.#kicks = queues.map((queue) => {
      const { index, guest } = queue;
      nic.setVringSize(index, guest.ring.size);
      nic.setVringBase(index, guest.begin(this.options.start, features.eventIndex));
      this.#setAddresses(queue);
      nic.setVringCall(index, new LocalEvent(this.turns));
      const kick = new LocalEvent(this.turns);
      nic.setVringKick(index, kick);
      return kick;
    });
    for (const { index } of queues) this.run(index, 'running');
  }

  #setAddresses({ index, guest, shift, logAddress }: ModelQueue): void {
    const { addresses } = guest.ring;
    this.nic.setVringAddresses(index, {
      descriptorTable: addresses.descriptorTable + shift,
      availableRing: addresses.availableRing + shift,
      usedRing: addresses.usedRing + shift,
      logAddress: this.#logging ? logAddress : 0,
      flags: this.#logging ? LOGS_RING : 0,
    });
  }

  setFeatures(features: ModelFeatures): void {
    // The driver has looked at everything that came before.
    this.driver();
    for (const { guest } of this.queues) guest.eventIndex = features.eventIndex;
    this.nic.setFeatures(this.features(features));
  }

  /** A migration begins, or has ended. */
  setLogging(on: boolean): void {
    this.driver();
    this.#logging = on;
    this.nic.setFeatures(
      on ? this.nic.features | FEATURE.LOG_ALL : this.nic.features & ~FEATURE.LOG_ALL,
    );
    for (const queue of this.queues) this.#setAddresses(queue);
  }

  run(index: number, mode: 'running' | 'discarding' | 'stopped'): void {
    this.nic.runQueue(index, mode);
    const { attached, sockets, ledger } = this.pair(index >> 1);
    const queue = index & 1;
    switch (mode) {
      case 'running':
        attached[queue] = sockets[0];
        return;
      case 'discarding':
        attached[queue] = 'discard';
        if (queue === 1) ledger.discardingBegins();
        return;
      case 'stopped':
        attached[queue] = 'nothing';
        return;
    }
  }

  setBackend(index: number, socket: ModelSocket | undefined): void {
    this.pair(index >> 1).attached[index & 1] = socket ?? 'nothing';
    this.pending.push(this.nic.setBackend(index, socket));
  }

  /** Kicks the queues whose device wants it; all of them when `force` is set. */
  kick(force: boolean): void {
    for (const { index, guest } of this.queues) {
      if (guest.wantsKick || force) this.#kicks[index]?.signal();
    }
  }

  /** The guest's drivers look at all used rings. */
  driver(): void {
    const { rules } = this;
    const log = this.#logging ? this.log : undefined;
    this.log.harvest();
    for (const pair of this.pairs) pair.driver(rules, log);
  }

  /** Completes all that is outstanding, and again, until nothing more comes. */
  async finishCalls(): Promise<void> {
    const all = Promise.all(this.pending.splice(0));
    let done = false;
    const end = all.finally(() => {
      done = true;
    });
    for (let round = 0; !done; round += 1) {
      if (round > 1000) throw new Error('a call does not come to its end');
      this.completeAll();
      this.turns.settle();
      await Promise.resolve();
    }
    await end;
  }

  /** Completes what is outstanding now. */
  completeAll(): void {
    for (const { sockets } of this.pairs) {
      for (const socket of sockets) socket.complete(Array<number>(256).fill(0), true);
    }
  }

  async reset(features: ModelFeatures): Promise<void> {
    this.pending.push(this.nic.reset());
    await this.finishCalls();
    this.driver();
    for (const { ledger } of this.pairs) ledger.ringsGone();
    this.setUp(features);
  }
}
