import { NEVER, type Observable, Subject } from 'rxjs';
import {
  LocalEvent,
  type PacketBatch,
  type PacketSocket,
  type QueueFault,
  type TurnScheduler,
  VhostNet,
  type VhostNetOptions,
} from '../../src/index.js';
import { RingMemory, USER_BASE } from './ring-memory.js';

/** A scheduler whose turns run when the test says so. */
export class ManualTurns implements TurnScheduler {
  readonly #waiting: (() => void)[] = [];

  schedule(turn: () => void): void {
    this.#waiting.push(turn);
  }

  /** Turns that wait. */
  get count(): number {
    return this.#waiting.length;
  }

  /** Runs the turns that wait now, not those that they schedule. */
  turn(): void {
    for (const turn of this.#waiting.splice(0)) turn();
  }

  /** Runs turns until none waits; gives up after `most` rounds. */
  settle(most = 1000): void {
    for (let round = 0; this.#waiting.length > 0; round += 1) {
      if (round === most) throw new Error('the turns do not settle');
      this.turn();
    }
  }
}

/** A backend that keeps what it is sent and gives what it is told to, with room as the test says. */
export class FakeSocket implements PacketSocket {
  headerLength: number = 0;
  readonly sent: Uint8Array[] = [];
  readonly toReceive: Uint8Array[] = [];
  room = Number.POSITIVE_INFINITY;
  fill: number | undefined;
  /** Answers by the frame's first byte; the frame's length when there is none. */
  readonly outcomes = new Map<number, number>();
  readonly writable = new Subject<void>();
  readonly readable = new Subject<void>();
  closed = 0;
  calls = 0;
  sendBufferFill?: () => number;

  get readable$(): Observable<void> {
    return this.readable;
  }

  get writable$(): Observable<void> {
    return this.writable;
  }

  setHeaderLength(bytes: 10 | 12): void {
    this.headerLength = bytes;
  }

  send(batch: PacketBatch, first: number): number {
    this.calls += 1;
    let frame = first;
    for (; frame < batch.count && this.room > 0; frame += 1) {
      const bytes = new Uint8Array(batch.frameLength(frame));
      batch.copyFrame(frame, bytes);
      const outcome = this.outcomes.get(bytes[0] as number) ?? bytes.length;
      batch.results[frame] = outcome;
      if (outcome >= 0) this.sent.push(bytes);
      this.room -= 1;
    }
    return frame - first;
  }

  receive(batch: PacketBatch): number {
    this.calls += 1;
    for (;;) {
      const frame = this.toReceive[0];
      if (frame === undefined || batch.deliver(frame) === 'full') break;
      this.toReceive.shift();
    }
    let chains = 0;
    for (let f = 0; f < batch.frameCount; f += 1) chains += batch.frameChains[f] as number;
    return chains;
  }

  close(): void {
    this.closed += 1;
  }
}

/** A backend that never has anything to say. */
export const quietSocket = (): PacketSocket => ({
  headerLength: 0,
  readable$: NEVER,
  writable$: NEVER,
  send: (batch, first) => batch.count - first,
  receive: () => 0,
  close() {},
});

/** A NIC of one pair with both rings in raw memory and every event in the test's hands. */
export function makeNic(options: VhostNetOptions = {}, size = 8) {
  const turns = new ManualTurns();
  const socket = new FakeSocket();
  const nic = new VhostNet({ backends: socket, turns, ...options });
  const faults: QueueFault[] = [];
  nic.errors$.subscribe((fault) => faults.push(fault));
  const rings = [new RingMemory(size), new RingMemory(size)] as const;
  const ports = rings.map(() => ({
    kick: new LocalEvent(turns),
    call: new LocalEvent(turns),
    error: new LocalEvent(turns),
  }));
  const [receive, transmit] = rings;
  const port = (index: number) => {
    const found = ports[index];
    if (found === undefined) throw new Error(`no ports ${index}`);
    return found;
  };
  return {
    nic,
    socket,
    turns,
    faults,
    receive,
    transmit,
    port,
    /** Owner, features, memory (transmit ring's memory 16 MiB above), both queues set up. */
    setUp(features = 0n, base = 0) {
      nic.setOwner();
      nic.setFeatures(features);
      nic.setMemoryRegions([
        receive.region,
        {
          ...transmit.region,
          guestAddress: transmit.region.guestAddress + 0x100_0000,
          userAddress: USER_BASE + 0x100_0000,
        },
      ]);
      for (const [index, ring] of rings.entries()) {
        const shift = index * 0x100_0000;
        const { addresses } = ring;
        nic.setVringSize(index, size);
        nic.setVringBase(index, base);
        nic.setVringAddresses(index, {
          ...addresses,
          descriptorTable: addresses.descriptorTable + shift,
          availableRing: addresses.availableRing + shift,
          usedRing: addresses.usedRing + shift,
        });
        const { kick, call, error } = port(index);
        nic.setVringKick(index, kick);
        nic.setVringCall(index, call);
        nic.setVringError(index, error);
      }
    },
    run() {
      nic.runQueue(0, 'running');
      nic.runQueue(1, 'running');
      turns.settle();
    },
    /** Offers transmit frames (header of `header` bytes before each) at heads 0, 1, … and kicks. */
    offerFrames(frames: readonly Uint8Array[], header = 10, kick = true) {
      for (const [index, frame] of frames.entries()) {
        const head = (transmit.availableIndex + 0) % size;
        const at = (head % 128) * 0x1000;
        transmit.data(at, header).fill(0xee);
        transmit.data(at + header, frame.length).set(frame);
        transmit.descriptor(head, {
          at: BigInt(transmit.address(at)) + 0x100_0000n,
          length: header + frame.length,
          absolute: true,
        });
        transmit.offer(head);
        if (index === frames.length - 1 && kick) port(1).kick.signal();
      }
    },
    /** Offers receive buffers of `length` bytes and kicks. */
    offerBuffers(count: number, length: number, kick = true) {
      for (let n = 0; n < count; n += 1) {
        const head = receive.availableIndex % size;
        receive.descriptor(head, { at: head * 0x1000, length, flags: 2 });
        receive.offer(head);
      }
      if (kick) port(0).kick.signal();
    },
  };
}

/** A frame of `length` bytes that all are `value`. */
export const frame = (value: number, length = 60): Uint8Array => new Uint8Array(length).fill(value);
