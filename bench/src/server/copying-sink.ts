import type { FrameCopier, PacketBatch, PacketSocket } from '@rxvhost/core';
import { NEVER } from 'rxjs';

const BUFFER_SIZE = 1024 * 1024;

/**
 * Copies each frame out of the guest's memory and forgets it: the work that DPDK's vhost port does
 * in `rxonly` mode, so that the two can be compared.
 */
export class CopyingSink implements PacketSocket {
  readonly headerLength = 0;
  readonly readable$ = NEVER;
  readonly writable$ = NEVER;

  /** @param buffer - where frames are copied to; may be that of other sinks too */
  constructor(
    private readonly copier: FrameCopier,
    private readonly buffer = new Uint8Array(BUFFER_SIZE),
  ) {}

  send(batch: PacketBatch, first: number): number {
    let next = first;
    while (next < batch.count) {
      const copied = this.copier.gather(batch, next, this.buffer, 0);
      if (copied === 0) {
        // Larger than the whole buffer: no frame that a NIC sends.
        batch.results[next] = -90;
        next += 1;
      }
      next += copied;
    }
    return batch.count - first;
  }

  receive(): number {
    return 0;
  }

  close(): void {}
}
