import type { FrameCopier, PacketBatch, PacketSocket } from '@rxvhost/core';
import { NEVER, of } from 'rxjs';

const FRAMES = 256;

/** Always has 64-byte frames to give: the work that DPDK's port does in `txonly` mode. */
export class FrameSource implements PacketSocket {
  readonly headerLength = 0;
  readonly readable$ = of(undefined);
  readonly writable$ = NEVER;
  readonly #bytes: Uint8Array;
  readonly #lengths: Uint32Array;

  /** @param length - bytes of each frame */
  constructor(
    private readonly copier: FrameCopier,
    length = 64,
  ) {
    this.#bytes = new Uint8Array(FRAMES * length).fill(0x5a);
    this.#lengths = new Uint32Array(FRAMES).fill(length);
  }

  send(batch: PacketBatch, first: number): number {
    return batch.count - first;
  }

  receive(batch: PacketBatch): number {
    const count = Math.min(batch.count, FRAMES);
    return this.copier.scatter(batch, this.#bytes, 0, this.#lengths, 0, count);
  }

  close(): void {}
}
