import type { TurnScheduler } from '../../src/index.js';
import { type ChainForm, ModelGuestRing } from './model-guest.js';
import { askForChecksum, CHECKED_LENGTH, completed } from './model-header.js';
import { ModelLedger } from './model-ledger.js';
import type { ModelLog } from './model-log.js';
import { ModelPackedRing } from './model-packed-ring.js';
import { ModelSocket, type ModelSocketOptions } from './model-socket.js';
import { ModelSplitRing } from './model-split-ring.js';
import { GUEST_BASE } from './ring-memory.js';

/** Between the memories of two rings. */
const STRIDE = 0x20_0000;
/** Where used rings are logged: a page each, outside guest memory. */
const RING_LOGS = GUEST_BASE + 4 * STRIDE;
/** Bytes of guest-physical addresses that a log has to cover. */
export const LOGGED_BYTES = RING_LOGS + 0x1_0000;

/** What a driver and a device have agreed on, as far as frames show it. */
export interface FrameRules {
  readonly headerLength: 10 | 12;
  readonly mergeable: boolean;
  /** Whether the driver may leave checksums to the device. */
  readonly checksum: boolean;
}

/** How a {@link ModelPair} is made. */
export interface ModelPairOptions extends ModelSocketOptions {
  /** Packed rings rather than split ones. */
  readonly packed: boolean;
}

/** One ring of the guest's. */
export interface ModelQueue {
  readonly index: number;
  readonly shift: number;
  readonly logAddress: number;
  readonly guest: ModelGuestRing<undefined> | ModelGuestRing<number>;
}

/** One queue pair: two rings, two backends to attach them to, and what must come out. */
export class ModelPair {
  readonly ledger = new ModelLedger();
  readonly sockets: readonly [ModelSocket, ModelSocket];
  readonly receive: ModelGuestRing<undefined>;
  readonly transmit: ModelGuestRing<number>;
  readonly queues: readonly [ModelQueue, ModelQueue];
  /** What each queue is attached to. */
  readonly attached: (ModelSocket | 'nothing' | 'discard')[] = ['nothing', 'nothing'];

  constructor(
    readonly index: number,
    turns: TurnScheduler,
    options: ModelPairOptions,
  ) {
    const socket = () => new ModelSocket(this.ledger, turns, options);
    this.sockets = [socket(), socket()];
    const [receive, transmit] = [2 * index, 2 * index + 1];
    const ring = () => (options.packed ? new ModelPackedRing() : new ModelSplitRing());
    this.receive = new ModelGuestRing(ring(), receive * STRIDE);
    this.transmit = new ModelGuestRing(ring(), transmit * STRIDE);
    this.queues = [queueOf(receive, this.receive), queueOf(transmit, this.transmit)];
  }

  offerFrame(form: ChainForm, length: number, unfinished: boolean, rules: FrameRules): void {
    const { headerLength } = rules;
    const frame = this.ledger.nextFrame(length);
    const bytes = new Uint8Array(headerLength + length);
    bytes.set(frame, headerLength);
    let expected = frame;
    if (unfinished && rules.checksum && length >= CHECKED_LENGTH) {
      askForChecksum(bytes);
      // A backend that honours this gets the frame as it is.
      if (this.sockets[0].offloads === undefined) expected = completed(frame);
    }
    // A header that is split, and a frame that is.
    const pieces = [7, headerLength - 7 + 5, length - 5];
    const discarded = this.attached[1] === 'discard';
    const number = this.ledger.offer(expected, discarded, expected !== frame);
    if (!this.transmit.offer(number, form, pieces, bytes)) this.ledger.offered.delete(number);
  }

  offerBuffer(form: ChainForm, length: number): void {
    this.receive.offer(undefined, form, [5, length - 5]);
  }

  /** The guest's driver looks at both used rings; with a log, at what stands there. */
  driver(rules: FrameRules, log: ModelLog | undefined): void {
    const [receiveQueue, transmitQueue] = this.queues;
    const sent = this.transmit.takeUsed();
    for (const { tag } of sent) this.ledger.use(tag);
    if (sent.length > 0) log?.check(this.transmit.usedLog(transmitQueue.logAddress), 4);
    const used = this.receive.takeUsed();
    if (used.length > 0) log?.check(this.receive.usedLog(receiveQueue.logAddress), 4);
    for (const { written } of used) {
      for (const { at, length } of written) {
        log?.check(this.receive.ring.address(at) + receiveQueue.shift, length);
      }
    }
    while (used.length > 0) {
      const [first] = used;
      if (first === undefined) return;
      const count = rules.headerLength === 12 ? (first.bytes[10] as number) : 1;
      if (count < 1 || count > used.length) throw new Error(`num_buffers is ${count}`);
      if (!rules.mergeable && count !== 1) {
        throw new Error(`num_buffers ${count} without MRG_RXBUF`);
      }
      const frame = Buffer.concat(used.splice(0, count).map(({ bytes }) => bytes));
      this.ledger.receive(frame.subarray(rules.headerLength), frame[0] as number);
    }
  }
}

function queueOf(index: number, guest: ModelQueue['guest']): ModelQueue {
  return { index, guest, shift: index * STRIDE, logAddress: RING_LOGS + index * 4096 };
}
