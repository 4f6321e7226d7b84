import { ArrayBufferMapping, FEATURE, LocalEvent } from '@rxvhost/core';
import {
  BufferList,
  type DriverQueue,
  GuestMemoryArena,
  lendRegions,
  makeDriverQueue,
  NO_CHAIN,
  vringAddresses,
} from '@rxvhost/guest';
import { HEADER_BYTES, PacketHeader, type VhostVsock, VSOCK_QUEUES } from '../../src/index.js';

export const GUEST_CID = 42;
const QUEUE_SIZE = 256;
/** A packed ring's need be no power of two. */
const PACKED_QUEUE_SIZE = 200;
const MEMORY = 8 << 20;

/** A packet as it came out of the guest's receive queue. */
export interface ReceivedPacket {
  readonly header: PacketHeader;
  readonly payload: Buffer;
}

/** A buffer of a chain. */
interface Piece {
  readonly address: number;
  readonly length: number;
}

/** One of the guest's queues with its events. */
interface Ring {
  readonly queue: DriverQueue;
  kick: LocalEvent;
  call: LocalEvent;
  /** Buffers of outstanding chains, by id. */
  readonly buffers: Map<number, Piece[]>;
}

/** A guest that puts any packet into any shape of chain: rings, without a driver over them. */
export class VsockGuest {
  readonly arena: GuestMemoryArena;
  readonly rings: readonly Ring[];

  /** @param features - what it accepts, of its device and of its rings */
  constructor(
    readonly features = 0n,
    indirectEntries = 8,
  ) {
    const mapping = new ArrayBufferMapping(new ArrayBuffer(MEMORY));
    const region = { guestAddress: 0x10_0000, userAddress: 0x7f00_0000_0000, size: MEMORY };
    this.arena = new GuestMemoryArena([{ ...region, mapping }]);
    const size = this.#packed ? PACKED_QUEUE_SIZE : QUEUE_SIZE;
    this.rings = Array.from({ length: VSOCK_QUEUES }, () => ({
      queue: makeDriverQueue(this.arena, size, features, indirectEntries),
      kick: new LocalEvent(),
      call: new LocalEvent(),
      buffers: new Map<number, Piece[]>(),
    }));
  }

  /** What a front-end tells a device; its queues run afterwards. */
  plugInto(device: VhostVsock, queues = [0, 1, 2]): void {
    device.setOwner();
    device.setFeatures(this.features);
    device.setMemoryRegions(lendRegions(this.arena));
    this.startQueues(device, queues);
  }

  /** Where a queue is whose first chains, so many of one descriptor each, have been used. */
  baseAfter(chains: number): number {
    return this.#packed ? ((0x8000 | chains) * 0x1_0001) >>> 0 : chains;
  }

  startQueues(device: VhostVsock, queues = [0, 1, 2], base = this.baseAfter(0)): void {
    for (const index of queues) {
      const { queue, kick, call } = this.ring(index);
      device.setVringSize(index, queue.size);
      device.setVringBase(index, base);
      device.setVringAddresses(index, vringAddresses(this.arena, queue));
      device.setVringKick(index, kick);
      device.setVringCall(index, call);
      device.runQueue(index, 'running');
    }
  }

  /** Goes on with a device that has its features, from where another one has stopped. */
  continueOn(device: VhostVsock, bases: readonly number[]): void {
    device.setMemoryRegions(lendRegions(this.arena));
    for (const [index, base] of bases.entries()) {
      // The last device closes those that it was given.
      Object.assign(this.ring(index), { kick: new LocalEvent(), call: new LocalEvent() });
      this.startQueues(device, [index], base);
    }
  }

  ring(index: number): Ring {
    return this.rings[index] as Ring;
  }

  /** Empties the rings, as a driver does that begins anew. */
  reboot(): void {
    for (const index of this.rings.keys()) this.resetQueue(index);
  }

  /** Empties one ring, which the device no longer uses. */
  resetQueue(index: number): void {
    const { queue, buffers } = this.ring(index);
    queue.reset();
    for (const pieces of buffers.values()) {
      for (const { address } of pieces) this.arena.release(address);
    }
    buffers.clear();
  }

  /** Sends header and payload in pieces of these sizes, the last one with all the rest. */
  send(
    header: PacketHeader,
    payload: Buffer = Buffer.alloc(0),
    pieces: readonly number[] = [],
  ): void {
    this.sendBytes(Buffer.concat([header.toBytes(), payload]), pieces);
  }

  /** Sends any bytes at all on the transmit queue. */
  sendBytes(bytes: Buffer, pieces: readonly number[] = []): void {
    const list = new BufferList();
    const addresses: number[] = [];
    let at = 0;
    for (const size of [...pieces, bytes.length]) {
      const piece = bytes.subarray(at, at + size);
      at += piece.length;
      if (piece.length === 0) continue;
      const address = this.arena.allocate(piece.length, 1);
      this.arena.write(address, piece);
      list.addReadable(address, piece.length);
      addresses.push(address);
    }
    this.#add(1, list, addresses);
  }

  /** Gives the device a buffer to write to, in pieces of these sizes. */
  give(index: number, pieces: readonly number[]): void {
    const list = new BufferList();
    const addresses = pieces.map((size) => this.arena.allocate(size, 1));
    for (const [piece, size] of pieces.entries())
      list.addWritable(addresses[piece] as number, size);
    this.#add(index, list, addresses);
  }

  /** Packets that the device has used the transmit queue's buffers of, since the last call. */
  takeSent(): number {
    let count = 0;
    while (this.#takeUsed(1) !== undefined) count += 1;
    return count;
  }

  /** What the device wrote into the next used buffer of a queue; undefined when there is none. */
  takeBytes(index: number): Buffer | undefined {
    return this.#takeUsed(index);
  }

  /** The packets that have come since the last call. */
  takePackets(): ReceivedPacket[] {
    const packets: ReceivedPacket[] = [];
    for (let bytes = this.takeBytes(0); bytes !== undefined; bytes = this.takeBytes(0)) {
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
      const header = new PacketHeader().read(view, 0);
      packets.push({ header, payload: bytes.subarray(HEADER_BYTES) });
    }
    return packets;
  }

  get #packed(): boolean {
    return (this.features & FEATURE.RING_PACKED) !== 0n;
  }

  #add(index: number, list: BufferList, addresses: number[]): void {
    const { queue, kick, buffers } = this.ring(index);
    const id = queue.add(list, list.count > 1);
    if (id === NO_CHAIN) throw new Error('the ring is full');
    buffers.set(
      id,
      addresses.map((address, at) => ({ address, length: list.lengths[at] as number })),
    );
    if (queue.publish()) kick.signal();
  }

  #takeUsed(index: number): Buffer | undefined {
    const { queue, buffers } = this.ring(index);
    const id = queue.takeUsed();
    if (queue.fault !== undefined) throw queue.fault;
    if (id === NO_CHAIN) return undefined;
    const parts: Uint8Array[] = [];
    let left = queue.usedLength;
    for (const { address, length } of buffers.get(id) ?? []) {
      const written = Math.min(left, length);
      parts.push(this.arena.read(address, written));
      left -= written;
      this.arena.release(address);
    }
    buffers.delete(id);
    return Buffer.concat(parts);
  }
}

/** Lets everything run that is due. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 10; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}
