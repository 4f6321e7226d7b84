import type { MemoryMapping } from '@rxvhost/core';
import { FEATURE } from '@rxvhost/core';
import {
  GuestMemoryArena,
  GuestNic,
  type GuestRing,
  NumberedFrameChecker,
  NumberedFrames,
  vringAddresses,
} from '@rxvhost/guest';
import { closeFd, createMemfd, EventFd, mapShared } from '@rxvhost/sys';
import { type MachineSetup, type SharedRegion, VhostUserFrontend } from '../../src/index.js';

const MEMORY = 2 << 20;
const GUEST_ADDRESS = 0x10_0000;
const USER_ADDRESS = 0x7f12_3400_0000;
/** What the guest's driver accepts. */
export const DRIVER_FEATURES = FEATURE.VERSION_1 | FEATURE.EVENT_IDX | FEATURE.INDIRECT_DESC;

const HERE = Uint8Array.of(2, 0, 0, 0, 0, 1);
const THERE = Uint8Array.of(2, 0, 0, 0, 0, 2);

/** A small VM: memory in a memfd, a guest with a NIC, eventfds, and a VMM that speaks vhost-user. */
export class TestVm {
  readonly memory = createMemfd('test-vm', MEMORY);
  readonly nic: GuestNic;
  readonly arena: GuestMemoryArena;
  readonly sent = new NumberedFrames(THERE, HERE);
  readonly received = new NumberedFrameChecker();
  frontend: VhostUserFrontend | undefined;
  readonly #mapping: MemoryMapping = mapShared(this.memory, 0, MEMORY);

  constructor(
    queueSize = 64,
    readonly features = DRIVER_FEATURES,
  ) {
    this.arena = new GuestMemoryArena([
      {
        guestAddress: GUEST_ADDRESS,
        userAddress: USER_ADDRESS,
        size: MEMORY,
        mapping: this.#mapping,
      },
    ]);
    this.nic = new GuestNic(this.arena, {
      features,
      queueSize,
      makeEvent: () => new EventFd(),
    });
    this.nic.driver.frames$.subscribe((batch) => {
      for (const frame of batch) this.received.receive(frame);
    });
  }

  /** The guest's memory as a front-end shares it. */
  get region(): SharedRegion {
    return {
      guestAddress: GUEST_ADDRESS,
      userAddress: USER_ADDRESS,
      size: MEMORY,
      fd: this.memory,
    };
  }

  /** The whole VM as a front-end that reconnects describes it. */
  machine(features = this.features): MachineSetup {
    const queues = this.nic.rings.map((ring) => ({
      size: ring.queue.size,
      base: () => this.usedIndex(ring),
      addresses: vringAddresses(this.arena, ring.queue),
      kick: asEventFd(ring.kick),
      call: asEventFd(ring.call),
    }));
    return { handshake: { features }, memory: [this.region], queues };
  }

  /** The VMM connects, negotiates and shares memory. */
  async connect(socketPath: string): Promise<VhostUserFrontend> {
    const frontend = VhostUserFrontend.connect(socketPath);
    this.frontend = frontend;
    await frontend.handshake({ features: this.features });
    await frontend.shareMemory([this.region]);
    return frontend;
  }

  /** The guest's driver comes up and the VMM starts its rings. */
  async boot(socketPath: string): Promise<void> {
    await this.connect(socketPath);
    await this.startRings();
    this.nic.start();
  }

  /** Starts every ring where the guest's memory says that the device had got to, as QEMU does. */
  async startRings(): Promise<void> {
    for (const ring of this.nic.rings) await this.startRing(ring, this.usedIndex(ring));
  }

  async startRing(ring: GuestRing, base: number): Promise<void> {
    await this.frontend?.startQueue(ring.index, {
      size: ring.queue.size,
      base,
      addresses: vringAddresses(this.arena, ring.queue),
      kick: asEventFd(ring.kick),
      call: asEventFd(ring.call),
    });
  }

  /** The used ring's index in guest memory; a packed ring has none, and begins where it began. */
  usedIndex({ queue }: GuestRing): number {
    if ((this.features & FEATURE.RING_PACKED) !== 0n) return queue.initialBase;
    return this.arena.readUint16(queue.addresses.usedRing + 2);
  }

  /** Sends numbered frames; throws when the ring is full. */
  send(count: number, length = 200): void {
    for (let frame = 0; frame < count; frame += 1) {
      if (!this.nic.driver.send(this.sent.make(length))) throw new Error('the ring is full');
    }
  }

  /** The VMM goes; memory and guest stay. */
  disconnect(): void {
    this.frontend?.close();
    this.frontend = undefined;
  }

  close(): void {
    this.disconnect();
    this.nic.close();
    this.#mapping.release();
    closeFd(this.memory);
  }
}

function asEventFd(port: GuestRing['kick']): EventFd {
  if (port instanceof EventFd) return port;
  throw new TypeError('this guest was made with eventfds');
}
