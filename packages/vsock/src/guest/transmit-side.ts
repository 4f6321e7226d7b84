import { BufferList, BufferPool, NO_CHAIN, type QueueLink } from '@rxvhost/guest';
import type { PacketEndpoint, PayloadSink } from '../carrier/packet-endpoint.js';
import { HEADER_BYTES, MAX_PAYLOAD } from '../protocol/limits.js';
import { PacketHeader } from '../protocol/packet-header.js';
import { GuestSide, type SideContext } from './guest-side.js';

/** Buffers for packets to send, unless told otherwise. */
export const DEFAULT_TRANSMIT_BUFFERS = 64;

/** Payload goes straight from the user's memory into a buffer of the ring. */
class BufferSink implements PayloadSink {
  #target: Uint8Array = new Uint8Array(0);
  #at = 0;

  begin(target: Uint8Array): void {
    this.#target = target;
    this.#at = HEADER_BYTES;
  }

  write(bytes: Uint8Array): void {
    this.#target.set(bytes, this.#at);
    this.#at += bytes.length;
  }
}

/**
 * Packets to the device (seed D3): a packet is fetched from the endpoint only when there is a buffer
 * and a place in the ring for it, so none is ever put back; when there is neither, the first that
 * the device returns resumes sending. Calls are off meanwhile, and a batch has one kick.
 */
export class TransmitSide extends GuestSide {
  readonly #pool: BufferPool;
  readonly #list = new BufferList(1);
  readonly #bufferOf: Uint16Array;
  readonly #views: readonly DataView[];
  readonly #header = new PacketHeader();
  readonly #sink = new BufferSink();
  #working = false;

  /** @param sent - told whenever packets have gone to the device */
  constructor(
    context: SideContext,
    link: QueueLink,
    private readonly endpoint: PacketEndpoint,
    buffers: number,
    private readonly sent: () => void,
  ) {
    super(context, link);
    const count = Math.min(buffers, link.queue.size);
    this.#pool = new BufferPool(context.arena, count, HEADER_BYTES + MAX_PAYLOAD);
    this.#bufferOf = new Uint16Array(link.queue.size);
    this.#views = this.#pool.bytes.map(
      ({ buffer, byteOffset, length }) => new DataView(buffer, byteOffset, length),
    );
  }

  /** Something is to be sent: soon, so that what is written in one go travels together. */
  wanted(): void {
    queueMicrotask(() => {
      if (this.running) this.work();
    });
  }

  release(): void {
    this.link.queue.reset();
    this.#pool.release();
  }

  protected work(): void {
    // Whoever is told that his bytes have gone may write more; the loop below sees that too.
    if (this.#working) return;
    this.#working = true;
    try {
      this.#sendAll();
    } finally {
      // What a user's callback throws is the user's, and must not end sending for all others.
      this.#working = false;
    }
  }

  #sendAll(): void {
    const { queue } = this.link;
    do {
      queue.disableCallbacks();
      this.#reclaim();
      if (this.checkFault()) return;
      let packets = 0;
      while (this.running && this.#sendOne()) packets += 1;
      if (packets > 0) {
        this.context.counters.packetsSent += packets;
        this.publish();
        this.sent();
      }
      if (!this.running || !this.endpoint.sendable) return;
      this.context.counters.transmitFull += 1;
    } while (queue.enableCallbacks(queue.outstanding >> 1));
  }

  #sendOne(): boolean {
    const { queue } = this.link;
    if (queue.freeDescriptors === 0) return false;
    const buffer = this.#pool.take();
    if (buffer < 0) return false;
    const header = this.#header;
    this.#sink.begin(this.#pool.bytes[buffer] as Uint8Array);
    if (!this.endpoint.next(header, MAX_PAYLOAD, this.#sink)) {
      this.#pool.give(buffer);
      return false;
    }
    header.write(this.#views[buffer] as DataView, 0);
    const address = this.#pool.addresses[buffer] as number;
    const id = queue.add(this.#list.clear().addReadable(address, HEADER_BYTES + header.length));
    this.#bufferOf[id] = buffer;
    return true;
  }

  #reclaim(): void {
    const { queue } = this.link;
    for (let id = queue.takeUsed(); id !== NO_CHAIN; id = queue.takeUsed()) {
      this.#pool.give(this.#bufferOf[id] as number);
    }
  }
}
