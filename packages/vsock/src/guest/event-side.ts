import { BufferList, BufferPool, NO_CHAIN, type QueueLink } from '@rxvhost/guest';
import { EVENT_BYTES, EVENT_TRANSPORT_RESET } from '../protocol/operation.js';
import { GuestSide, type SideContext } from './guest-side.js';

/** Buffers for events (seed D6). */
export const EVENT_BUFFERS = 8;

/** Events from the device (seed D6); each buffer goes back to it at once. */
export class EventSide extends GuestSide {
  readonly #pool: BufferPool;
  readonly #list = new BufferList(1);
  readonly #bufferOf: Uint16Array;

  /** @param reset - what to do about a reset of the transport */
  constructor(
    context: SideContext,
    link: QueueLink,
    private readonly reset: () => void,
  ) {
    super(context, link);
    const count = Math.min(EVENT_BUFFERS, link.queue.size);
    this.#pool = new BufferPool(context.arena, count, EVENT_BYTES);
    this.#bufferOf = new Uint16Array(link.queue.size);
  }

  override start(): void {
    for (let buffer = this.#pool.take(); buffer >= 0; buffer = this.#pool.take()) {
      this.#give(buffer);
    }
    this.publish();
    super.start();
  }

  release(): void {
    this.link.queue.reset();
    this.#pool.release();
  }

  protected work(): void {
    const { queue } = this.link;
    do {
      queue.disableCallbacks();
      for (let id = queue.takeUsed(); id !== NO_CHAIN; id = queue.takeUsed()) {
        const buffer = this.#bufferOf[id] as number;
        this.#handle(buffer, queue.usedLength);
        if (!this.running) return;
        this.#give(buffer);
      }
      if (this.checkFault()) return;
      this.publish();
    } while (queue.enableCallbacks());
  }

  #handle(buffer: number, length: number): void {
    const { counters } = this.context;
    const bytes = this.#pool.bytes[buffer] as Uint8Array;
    const id = new DataView(bytes.buffer, bytes.byteOffset, EVENT_BYTES).getUint32(0, true);
    if (length !== EVENT_BYTES || id !== EVENT_TRANSPORT_RESET) {
      counters.unknownEvents += 1;
      return;
    }
    counters.transportResets += 1;
    this.reset();
  }

  #give(buffer: number): void {
    const address = this.#pool.addresses[buffer] as number;
    const id = this.link.queue.add(this.#list.clear().addWritable(address, EVENT_BYTES));
    this.#bufferOf[id] = buffer;
  }
}
