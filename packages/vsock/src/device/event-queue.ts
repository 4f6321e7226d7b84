import { PacketBatch } from '@rxvhost/core';
import { EVENT_BYTES, EVENT_TRANSPORT_RESET } from '../protocol/operation.js';
import { QueueHandler } from './vsock-queue.js';

/**
 * Tells the driver that its connections are gone (virtio 1.2, 5.10.6.7; seed D6). The wish is kept
 * until the driver has given a buffer for it, over any stop of the queue (hazard T76); several wishes
 * that wait are one event. A front-end that keeps the event queue to itself, as QEMU does, sends the
 * event itself.
 */
export class EventQueue extends QueueHandler {
  /** Transport resets that the driver was told of. */
  transportResets = 0;

  readonly #batch = new PacketBatch(1);
  #pending = false;

  /** A transport reset that the driver has not been told of yet. */
  get pending(): boolean {
    return this.#pending;
  }

  /** The driver must end every connection and read its CID anew. */
  announceReset(): void {
    this.#pending = true;
    if (this.running) this.context.work.queue(this);
  }

  /** Nobody is left to be told. */
  forget(): void {
    this.#pending = false;
  }

  run(): void {
    if (!this.active || !this.#pending) return;
    const queue = this.context.vring.reach();
    if (queue === undefined) return;
    const batch = this.#batch;
    do {
      if (queue.takeWritable(batch, 1, EVENT_BYTES, 0) === 1) {
        this.#write();
        queue.completeWritable(batch);
        this.context.vring.callIfWanted();
        return;
      }
      if (queue.fault !== undefined) {
        this.standstill.begin(queue, queue.fault);
        return;
      }
    } while (queue.enableNotifications());
  }

  #write(): void {
    const batch = this.#batch;
    const event = new Uint8Array(EVENT_BYTES);
    new DataView(event.buffer).setUint32(0, EVENT_TRANSPORT_RESET, true);
    batch.deliver(event);
    this.#pending = false;
    this.transportResets += 1;
  }
}
