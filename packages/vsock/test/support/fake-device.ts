import { LocalEvent } from '@rxvhost/core';
import { DESCRIPTOR_BYTES, type GuestMemoryArena, type GuestRing } from '@rxvhost/guest';
import {
  EVENT_BYTES,
  type GuestDevice,
  HEADER_BYTES,
  PacketHeader,
  VsockCard,
  VsockQueue,
} from '../../src/index.js';
import { GUEST_CID } from './pair.js';

/** A chain of one descriptor that the driver has made available. */
export interface OfferedBuffer {
  readonly id: number;
  readonly address: number;
  readonly length: number;
}

/** The device's side of one ring, by hand: takes and uses buffers when a test says so. */
class FakeQueue {
  #seen = 0;
  #used = 0;

  constructor(
    private readonly arena: GuestMemoryArena,
    private readonly ring: GuestRing,
  ) {}

  /** Buffers made available and not yet taken. */
  get offered(): number {
    const { availableRing } = this.ring.queue.addresses;
    return (this.arena.readUint16(availableRing + 2) - this.#seen) & 0xffff;
  }

  take(): OfferedBuffer | undefined {
    if (this.offered === 0) return undefined;
    const { size, addresses } = this.ring.queue;
    const entry = addresses.availableRing + 4 + 2 * (this.#seen % size);
    const id = this.arena.readUint16(entry);
    this.#seen = (this.#seen + 1) & 0xffff;
    const descriptor = addresses.descriptorTable + id * DESCRIPTOR_BYTES;
    const address = Number(this.arena.readUint64(descriptor));
    return { id, address, length: this.arena.readUint32(descriptor + 8) };
  }

  /** Gives a buffer back with `length` bytes written, and calls. */
  use(id: number, length: number): void {
    const { size, addresses } = this.ring.queue;
    const entry = addresses.usedRing + 4 + 8 * (this.#used % size);
    this.arena.writeUint32(entry, id);
    this.arena.writeUint32(entry + 4, length);
    this.#used = (this.#used + 1) & 0xffff;
    this.arena.writeUint16(addresses.usedRing + 2, this.#used);
    this.ring.call.signal();
  }
}

/** A vsock device that does nothing by itself. */
export class FakeDevice {
  readonly card: VsockCard<LocalEvent>;
  readonly receive: FakeQueue;
  readonly transmit: FakeQueue;
  readonly event: FakeQueue;
  readonly config = new Uint8Array(8);
  resets = 0;

  constructor(
    readonly arena: GuestMemoryArena,
    queueSize = 16,
    features = 0n,
  ) {
    this.card = new VsockCard(arena, { queueSize, features, makeEvent: () => new LocalEvent() });
    const [receive, transmit, event] = this.card.rings.map((ring) => new FakeQueue(arena, ring));
    this.receive = receive as FakeQueue;
    this.transmit = transmit as FakeQueue;
    this.event = event as FakeQueue;
    this.setCid(GUEST_CID);
  }

  setCid(cid: number): void {
    this.config[0] = cid;
  }

  port(): GuestDevice {
    return this.card.device(this.card.features, {
      readConfig: (offset, length) => this.config.slice(offset, offset + length),
      reset: () => {
        this.resets += 1;
      },
    });
  }

  /** Kicks that the driver has raised on a queue and nobody has taken. */
  kicks(index: number): number {
    return this.card.rings[index]?.kick.pending ?? 0;
  }

  /** Writes a packet into the next receive buffer, saying that it is `length` bytes. */
  deliver(
    fields: Partial<PacketHeader>,
    payload = Buffer.alloc(0),
    length = HEADER_BYTES + payload.length,
  ): boolean {
    const buffer = this.receive.take();
    if (buffer === undefined) return false;
    const header = Object.assign(new PacketHeader(), {
      sourceCid: 2,
      destinationCid: GUEST_CID,
      type: 1,
      bufferAllocation: 65_536,
      length: payload.length,
      ...fields,
    });
    this.arena.write(buffer.address, header.toBytes());
    this.arena.write(buffer.address + HEADER_BYTES, payload);
    this.receive.use(buffer.id, length);
    return true;
  }

  /** Takes the next packet that the driver sends, and keeps its buffer. */
  takePacket(): { id: number; header: PacketHeader; payload: Buffer } | undefined {
    const buffer = this.transmit.take();
    if (buffer === undefined) return undefined;
    const view = this.arena.view(buffer.address, buffer.length);
    const bytes = Buffer.from(this.arena.read(buffer.address, buffer.length));
    const header = new PacketHeader().read(view, 0);
    return { id: buffer.id, header, payload: bytes.subarray(HEADER_BYTES) };
  }

  /** Takes every packet, and gives the buffers back. */
  takeAllPackets(): PacketHeader[] {
    const headers: PacketHeader[] = [];
    for (let packet = this.takePacket(); packet; packet = this.takePacket()) {
      headers.push(packet.header);
      this.transmit.use(packet.id, 0);
    }
    return headers;
  }

  /** Sends an event, saying that it is `length` bytes. */
  sendEvent(id: number, length = EVENT_BYTES): boolean {
    const buffer = this.event.take();
    if (buffer === undefined) return false;
    this.arena.writeUint32(buffer.address, id);
    this.event.use(buffer.id, length);
    return true;
  }

  /** Index of each queue, for {@link kicks}. */
  static readonly queues = VsockQueue;
}

/** Lets everything run that is due. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 12; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}
