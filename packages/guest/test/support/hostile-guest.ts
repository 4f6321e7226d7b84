import { FEATURE, LocalEvent, loopback, type PacketSocket, VhostNet } from '@rxvhost/core';
import {
  DESCRIPTOR_NEXT,
  DESCRIPTOR_WRITE,
  GuestMemoryArena,
  type HostileDescriptor,
  HostileQueue,
  NumberedFrameChecker,
  NumberedFrames,
  vringAddresses,
} from '../../src/index.js';
import { plainRegion } from './arena.js';
import { plugHonestPair } from './honest-pair.js';
import { turn, until } from './nics.js';
import { RecordingSocket } from './recording-socket.js';

const MODERN = FEATURE.VERSION_1 | FEATURE.INDIRECT_DESC;
/** Where the second region begins, in guest addresses right behind the first, elsewhere in the VMM. */
export const BORDER = 0x10_0000 + 0x1_0000;

/**
 * A guest with two queue pairs on one NIC: it writes pair 0's rings by hand, and an honest driver has
 * pair 1. Memory is two regions that touch in guest addresses only.
 */
export class HostileGuest {
  readonly arena = new GuestMemoryArena([
    plainRegion(0x10_0000, 0x7f00_0000_0000, 0x1_0000),
    plainRegion(BORDER, 0x3300_0000_0000, 0x20_0000),
  ]);
  readonly socket: RecordingSocket;
  readonly receive: HostileQueue;
  readonly transmit: HostileQueue;
  readonly kicks = [new LocalEvent(), new LocalEvent()] as const;
  readonly calls = [new LocalEvent(), new LocalEvent()] as const;
  readonly device: VhostNet;
  /** Messages of the faults that the device has reported, with the queue. */
  readonly faults: { queue: number; code: string; message: string }[] = [];
  readonly #frames = new NumberedFrames(new Uint8Array(6), new Uint8Array(6));
  readonly #checker = new NumberedFrameChecker();
  readonly #honest;

  constructor(features = MODERN, size = 8, socket = new RecordingSocket()) {
    this.socket = socket;
    this.receive = new HostileQueue(this.arena, size);
    this.transmit = new HostileQueue(this.arena, size);
    const backends: PacketSocket[] = [socket, loopback()];
    this.device = new VhostNet({ backends });
    this.device.errors$.subscribe(({ queue, error: { code, message } }) => {
      this.faults.push({ queue, code, message });
    });
    this.device.setOwner();
    this.device.setFeatures(features);
    this.device.setMemoryRegions(this.arena.regions);
    this.startQueue(0);
    this.startQueue(1);
    this.#honest = plugHonestPair(this.device, 1, this.arena, this.#checker);
  }

  /** Sets up and runs one of the hostile queues, from available index `base` on. */
  startQueue(index: 0 | 1, base = 0): void {
    const queue = index === 0 ? this.receive : this.transmit;
    this.device.setVringSize(index, queue.size);
    this.device.setVringBase(index, base);
    this.device.setVringAddresses(index, vringAddresses(this.arena, queue));
    this.device.setVringKick(index, this.kicks[index]);
    this.device.setVringCall(index, this.calls[index]);
    this.device.runQueue(index, 'running');
  }

  /** A buffer in memory, filled with `fill`. */
  buffer(length: number, fill = 0): HostileDescriptor {
    const address = this.arena.allocate(Math.max(length, 1), 1);
    this.arena.bytes(address, length).fill(fill);
    return { address: BigInt(address), length, flags: 0, next: 0 };
  }

  /** As {@link buffer}, for the device to write. */
  space(length: number): HostileDescriptor {
    return { ...this.buffer(length), flags: DESCRIPTOR_WRITE };
  }

  /** Writes a chain into descriptors `first`, `first + 1`, …, linked as an honest driver would. */
  chain(queue: HostileQueue, first: number, ...descriptors: HostileDescriptor[]): void {
    for (const [index, descriptor] of descriptors.entries()) {
      const last = index + 1 === descriptors.length;
      const flags = descriptor.flags | (last ? 0 : DESCRIPTOR_NEXT);
      queue.setDescriptor(first + index, {
        ...descriptor,
        flags,
        next: last ? 0 : first + index + 1,
      });
    }
  }

  /** A frame of 60 bytes behind a header, in one descriptor; what an honest driver sends. */
  goodFrame(fill: number): HostileDescriptor {
    const frame = this.buffer(72, fill);
    this.arena.bytes(Number(frame.address), 12).fill(0);
    return frame;
  }

  /** Kicks a queue and gives the device a few turns of the event loop. */
  async kick(index: 0 | 1): Promise<void> {
    this.kicks[index].signal();
    await turn(4);
  }

  /** Whether the other queue pair still carries a frame out and back. */
  async servesTheOtherPair(): Promise<boolean> {
    const expected = this.#checker.intact + 1;
    this.#honest.driver.send(this.#frames.make(200));
    await until(() => this.#checker.intact === expected, 20_000).catch(() => {});
    return this.#checker.flawless && this.#checker.intact === expected;
  }

  async close(): Promise<void> {
    await this.device.close();
    this.#honest.close();
  }
}
