import { BufferList, BufferPool, NO_CHAIN, type QueueLink } from '@rxvhost/guest';
import type { PacketEndpoint } from '../carrier/packet-endpoint.js';
import { HEADER_BYTES } from '../protocol/limits.js';
import { PacketHeader } from '../protocol/packet-header.js';
import { GuestSide, type SideContext } from './guest-side.js';

/** Bytes of payload that a receive buffer holds unless told otherwise (seed D2). */
export const DEFAULT_RECEIVE_PAYLOAD = 4096;

/**
 * Packets from the device (seeds D2, D4, D5): keeps the ring filled with buffers, hands what comes to
 * the endpoint, and takes nothing in while the endpoint holds as many replies as the ring has
 * entries, so that a host which never reads cannot make the guest keep more and more of them.
 */
export class ReceiveSide extends GuestSide {
  readonly #pool: BufferPool;
  readonly #list = new BufferList(1);
  readonly #bufferOf: Uint16Array;
  readonly #views: readonly DataView[];
  /** What follows the header in each buffer. */
  readonly #payloads: readonly Uint8Array[];
  readonly #header = new PacketHeader();
  readonly #pieces: Uint8Array[] = [];
  /** Buffers in the ring, and the most there have been: below half of that it is filled again. */
  #given = 0;
  #mostGiven = 0;
  #paused = false;

  constructor(
    context: SideContext,
    link: QueueLink,
    private readonly endpoint: PacketEndpoint,
    private readonly payloadSize: number,
  ) {
    super(context, link);
    const { size } = link.queue;
    this.#pool = new BufferPool(context.arena, size, HEADER_BYTES + payloadSize);
    this.#bufferOf = new Uint16Array(size);
    this.#views = this.#pool.bytes.map(
      ({ buffer, byteOffset, length }) => new DataView(buffer, byteOffset, length),
    );
    this.#payloads = this.#pool.bytes.map((bytes) => bytes.subarray(HEADER_BYTES));
  }

  override start(): void {
    this.#fill();
    super.start();
  }

  release(): void {
    this.link.queue.reset();
    this.#pool.release();
  }

  /** Fewer replies wait than before. */
  repliesSent(): void {
    if (this.#paused && !this.#repliesFull) this.schedule();
  }

  /** At most a ring's worth of packets in one turn. */
  protected work(): void {
    const { queue } = this.link;
    queue.disableCallbacks();
    for (let packets = 0; packets < queue.size; packets += 1) {
      if (this.#repliesFull) {
        // Calls stay off: what wakes us is a reply that was sent.
        this.#pause();
        return;
      }
      this.#paused = false;
      const id = queue.takeUsed();
      if (id === NO_CHAIN) break;
      this.#take(this.#bufferOf[id] as number, queue.usedLength);
      // Whoever heard of the packet may have removed the device.
      if (!this.running) return;
    }
    if (this.checkFault()) return;
    if (this.#given < this.#mostGiven / 2) this.#fill();
    if (queue.enableCallbacks()) this.schedule();
  }

  get #repliesFull(): boolean {
    return this.endpoint.queuedReplies >= this.link.queue.size;
  }

  #pause(): void {
    if (!this.#paused) this.context.counters.replyPauses += 1;
    this.#paused = true;
    if (this.#given < this.#mostGiven / 2) this.#fill();
  }

  #take(buffer: number, length: number): void {
    const { counters } = this.context;
    this.#given -= 1;
    const payload = length - HEADER_BYTES;
    try {
      if (payload < 0 || payload > this.payloadSize) {
        counters.badLength += 1;
      } else {
        const header = this.#header.read(this.#views[buffer] as DataView, 0);
        if (header.length !== payload) counters.wrongLength += 1;
        else this.#deliver(header, this.#payloads[buffer] as Uint8Array);
      }
    } finally {
      // A device that is removed meanwhile takes the pool along.
      if (this.running) this.#pool.give(buffer);
    }
  }

  #deliver(header: PacketHeader, bytes: Uint8Array): void {
    const pieces = this.#pieces;
    const { length } = header;
    pieces.length = 0;
    if (length > 0) pieces.push(length === bytes.length ? bytes : bytes.subarray(0, length));
    this.context.counters.packetsReceived += 1;
    this.endpoint.receive(header, pieces);
  }

  /** Gives every free buffer to the device. */
  #fill(): void {
    const { queue } = this.link;
    for (let buffer = this.#pool.take(); buffer >= 0; buffer = this.#pool.take()) {
      const address = this.#pool.addresses[buffer] as number;
      this.#list.clear().addWritable(address, HEADER_BYTES + this.payloadSize);
      const id = queue.add(this.#list);
      if (id === NO_CHAIN) {
        this.#pool.give(buffer);
        break;
      }
      this.#bufferOf[id] = buffer;
      this.#given += 1;
    }
    this.#mostGiven = Math.max(this.#mostGiven, this.#given);
    this.publish();
  }
}
