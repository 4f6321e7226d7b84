import type { PacketSocket } from '../backend/packet-socket.js';
import { ArrayBufferMapping, type MemoryMapping } from '../memory/mapping.js';
import type { BackendPeer } from './conformance-options.js';
import { FrameMemory } from './frame-memory.js';
import { until } from './waiting.js';

const CHAINS = 64;
const PATIENCE = 5000;

/** How a {@link SocketPeer} is made. */
export interface SocketPeerOptions {
  /** Bytes in the longest frame; 1514 unless set. */
  readonly largestFrame?: number;
  /** As in `ConformanceOptions`. */
  readonly memory?: (bytes: number) => MemoryMapping;
}

/**
 * A peer that is itself a `PacketSocket`: the other end of a link, a second socket on the same cable,
 * or, for a loop, the backend itself. It takes frames only when it is asked to.
 */
export class SocketPeer implements BackendPeer {
  readonly #memory: FrameMemory;
  readonly #largest: number;

  constructor(
    readonly socket: PacketSocket,
    { largestFrame = 1514, memory }: SocketPeerOptions = {},
  ) {
    const make =
      memory ??
      socket.allocate?.bind(socket) ??
      ((bytes: number) => new ArrayBufferMapping(new ArrayBuffer(bytes)));
    this.#largest = largestFrame + 12;
    this.#memory = new FrameMemory(make, this.#largest);
  }

  received(): Uint8Array[] {
    const { batch } = this.#memory;
    this.#memory.begin({});
    for (let n = 0; n < CHAINS; n += 1) this.#memory.add(this.#largest, {});
    this.#memory.take('receive');
    this.socket.receive(batch);
    const { headerLength } = this.socket;
    return Array.from({ length: batch.frameCount }, (_, frame) =>
      this.#memory.read(frame, 1).slice(headerLength, batch.frameLengths[frame]),
    );
  }

  async inject(frames: readonly Uint8Array[]): Promise<void> {
    const { headerLength } = this.socket;
    let next = 0;
    const sendSome = (): boolean => {
      this.#memory.begin({});
      const some = frames.slice(next, next + CHAINS);
      for (const frame of some) this.#memory.add(headerLength + frame.length, {});
      this.#memory.take('send');
      for (const [index, frame] of some.entries()) {
        this.#memory.write(index, 0, new Uint8Array(headerLength));
        this.#memory.write(index, headerLength, frame);
      }
      next += this.socket.send(this.#memory.batch, 0);
      return next >= frames.length;
    };
    const all = await until(sendSome, PATIENCE);
    if (!all) throw new Error(`the peer could send ${next} of ${frames.length} frames`);
  }

  /** Lets the peer's memory go; the socket is whose it was. */
  release(): void {
    this.#memory.release();
  }
}
