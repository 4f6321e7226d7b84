import { NEVER } from 'rxjs';
import type { PacketBatch } from '../virtqueue/packet-batch.js';
import type { PacketSocket } from './packet-socket.js';

/** Takes every frame and drops it; never has one to give. */
export class NullSocket implements PacketSocket {
  readonly headerLength = 0;
  readonly readable$ = NEVER;
  readonly writable$ = NEVER;

  send(batch: PacketBatch, first: number): number {
    for (let frame = first; frame < batch.count; frame += 1) {
      batch.results[frame] = batch.frameLength(frame);
    }
    return batch.count - first;
  }

  receive(): number {
    return 0;
  }

  close(): void {}
}
