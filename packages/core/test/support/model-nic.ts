import { FEATURE, LocalEvent, NET_FEATURE, VhostNet } from '../../src/index.js';
import { type ChainForm, ModelGuestRing } from './model-guest.js';
import { ModelLedger } from './model-ledger.js';
import { ModelSocket, type ModelSocketOptions } from './model-socket.js';
import { ManualTurns } from './nic.js';
import { RingMemory, USER_BASE } from './ring-memory.js';

const SIZE = 16;
const TRANSMIT_SHIFT = 0x100_0000;

/** What a run is made with. */
export interface ModelOptions extends ModelSocketOptions {
  readonly version1: boolean;
  /** Where the rings' indices begin. */
  readonly base: number;
}

/** A NIC of one pair between a guest and two backends, with every event in the test's hands. */
export class ModelNic {
  readonly turns = new ManualTurns();
  readonly ledger = new ModelLedger();
  readonly sockets: readonly [ModelSocket, ModelSocket];
  readonly nic: VhostNet;
  readonly receive = new ModelGuestRing<undefined>(new RingMemory(SIZE), 0);
  readonly transmit = new ModelGuestRing<number>(new RingMemory(SIZE), TRANSMIT_SHIFT);
  /** What each queue is attached to. */
  readonly attached: (ModelSocket | 'nothing' | 'discard')[] = ['nothing', 'nothing'];
  readonly faults: string[] = [];
  /** Calls that take their time. */
  readonly pending: Promise<unknown>[] = [];
  setUps = 0;
  #kicks: LocalEvent[] = [];

  constructor(readonly options: ModelOptions) {
    this.sockets = [
      new ModelSocket(this.ledger, this.turns, options),
      new ModelSocket(this.ledger, this.turns, options),
    ];
    this.nic = new VhostNet({ backends: this.sockets[0], turns: this.turns });
    this.nic.errors$.subscribe(({ queue, error }) =>
      this.faults.push(`${queue}: ${error.message}`),
    );
    this.setUp(false, false);
  }

  get headerLength(): 10 | 12 {
    return this.options.version1 || this.mergeable ? 12 : 10;
  }

  get mergeable(): boolean {
    return (this.nic.features & NET_FEATURE.MRG_RXBUF) !== 0n;
  }

  features(eventIndex: boolean, mergeable: boolean): bigint {
    return (
      FEATURE.INDIRECT_DESC |
      (this.options.version1 ? FEATURE.VERSION_1 : 0n) |
      (eventIndex ? FEATURE.EVENT_IDX : 0n) |
      (mergeable ? NET_FEATURE.MRG_RXBUF : 0n)
    );
  }

  /** As a front-end and a guest's driver do at the beginning. */
  setUp(eventIndex: boolean, mergeable: boolean): void {
    const { nic } = this;
    const guests = [this.receive, this.transmit];
    this.setUps += 1;
    nic.setOwner();
    nic.setFeatures(this.features(eventIndex, mergeable));
    nic.setMemoryRegions(
      guests.map(({ ring }, index) => ({
        ...ring.region,
        guestAddress: ring.region.guestAddress + index * TRANSMIT_SHIFT,
        userAddress: USER_BASE + index * TRANSMIT_SHIFT,
      })),
    );
    this.#kicks = guests.map((guest, index) => {
      guest.begin(this.options.base, eventIndex);
      const { addresses } = guest.ring;
      const shift = index * TRANSMIT_SHIFT;
      nic.setVringSize(index, SIZE);
      nic.setVringBase(index, this.options.base);
      nic.setVringAddresses(index, {
        ...addresses,
        descriptorTable: addresses.descriptorTable + shift,
        availableRing: addresses.availableRing + shift,
        usedRing: addresses.usedRing + shift,
      });
      nic.setVringCall(index, new LocalEvent(this.turns));
      const kick = new LocalEvent(this.turns);
      nic.setVringKick(index, kick);
      return kick;
    });
    for (const index of [0, 1]) this.run(index, 'running');
  }

  setFeatures(eventIndex: boolean, mergeable: boolean): void {
    // The driver has looked at everything that came before.
    this.driver();
    this.receive.eventIndex = eventIndex;
    this.transmit.eventIndex = eventIndex;
    this.nic.setFeatures(this.features(eventIndex, mergeable));
  }

  run(index: number, mode: 'running' | 'discarding' | 'stopped'): void {
    this.nic.runQueue(index, mode);
    switch (mode) {
      case 'running':
        this.attached[index] = this.sockets[0];
        return;
      case 'discarding':
        this.attached[index] = 'discard';
        if (index === 1) this.ledger.discardingBegins();
        return;
      case 'stopped':
        this.attached[index] = 'nothing';
        return;
    }
  }

  setBackend(index: number, socket: ModelSocket | undefined): void {
    this.attached[index] = socket ?? 'nothing';
    this.pending.push(this.nic.setBackend(index, socket));
  }

  offerFrame(form: ChainForm, length: number): void {
    const frame = this.ledger.nextFrame(length);
    const bytes = new Uint8Array(this.headerLength + length);
    bytes.set(frame, this.headerLength);
    // A header that is split, and a frame that is.
    const pieces = [7, this.headerLength - 7 + 5, length - 5];
    const number = this.ledger.offer(frame, this.attached[1] === 'discard');
    if (!this.transmit.offer(number, form, pieces, bytes)) this.ledger.offered.delete(number);
  }

  offerBuffer(form: ChainForm, length: number): void {
    this.receive.offer(undefined, form, [5, length - 5]);
  }

  /** Kicks the queues whose device wants it; all of them when `force` is set. */
  kick(force: boolean): void {
    for (const [index, guest] of [this.receive, this.transmit].entries()) {
      if (guest.wantsKick || force) this.#kicks[index]?.signal();
    }
  }

  /** The guest's driver looks at both used rings. */
  driver(): void {
    for (const { tag } of this.transmit.takeUsed()) this.ledger.use(tag);
    const used = this.receive.takeUsed();
    while (used.length > 0) {
      const [first] = used;
      if (first === undefined) return;
      const count = this.headerLength === 12 ? (first.bytes[10] as number) : 1;
      if (count < 1 || count > used.length) throw new Error(`num_buffers is ${count}`);
      if (!this.mergeable && count !== 1) throw new Error(`num_buffers ${count} without MRG_RXBUF`);
      const parts = used.splice(0, count).map(({ bytes }) => bytes);
      this.ledger.receive(Buffer.concat(parts).subarray(this.headerLength));
    }
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
      for (const socket of this.sockets) socket.complete(Array<number>(256).fill(0), true);
      this.turns.settle();
      await Promise.resolve();
    }
    await end;
  }

  async reset(eventIndex: boolean, mergeable: boolean): Promise<void> {
    this.pending.push(this.nic.reset());
    await this.finishCalls();
    this.driver();
    this.ledger.ringsGone();
    this.setUp(eventIndex, mergeable);
  }
}
