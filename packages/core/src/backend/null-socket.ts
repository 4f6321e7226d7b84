import { Subject } from 'rxjs';
import type { PacketBatch } from '../virtqueue/packet-batch.js';
import type { PacketSocket } from './packet-socket.js';

/** Takes every frame and drops it; never has one to give. */
export class NullSocket implements PacketSocket {
  readonly headerLength = 0;
  /** Says nothing before it ends. */
  readonly #silence = new Subject<never>();
  readonly readable$ = this.#silence.asObservable();
  readonly writable$ = this.#silence.asObservable();

  send(batch: PacketBatch, first: number): number {
    for (let frame = first; frame < batch.count; frame += 1) {
      batch.results[frame] = batch.frameLength(frame);
    }
    return batch.count - first;
  }

  receive(): number {
    return 0;
  }

  close(): void {
    this.#silence.complete();
  }
}
