import type { Socket } from 'node:dgram';
import { EventLoopTurns, LocalReadiness, type PacketBatch, type PacketSocket } from '@rxvhost/core';

/** Frames that may wait in each direction. */
const QUEUE_LIMIT = 256;

/** Ethernet over UDP: every frame is one datagram to the other end. */
export class UdpTunnel implements PacketSocket {
  readonly headerLength = 0;
  readonly #arrived: Uint8Array[] = [];
  #leaving = 0;
  readonly #turns = new EventLoopTurns();
  readonly #readable = new LocalReadiness(this.#turns, () => this.#arrived.length > 0);
  readonly #writable = new LocalReadiness(this.#turns, () => this.#leaving < QUEUE_LIMIT);
  readonly readable$ = this.#readable.ready$;
  readonly writable$ = this.#writable.ready$;
  #closed = false;

  /** @param udp - bound, and connected to the other end; the tunnel owns it */
  constructor(readonly udp: Socket) {
    udp.on('error', () => {}); // the other end is not there: frames get lost, as on any cable
    udp.on('message', (frame) => {
      if (this.#arrived.length < QUEUE_LIMIT) this.#arrived.push(frame);
      this.#readable.check();
    });
  }

  send(batch: PacketBatch, first: number): number {
    for (let index = first; index < batch.count; index += 1) {
      if (this.#leaving === QUEUE_LIMIT) return index - first;
      const frame = new Uint8Array(batch.frameLength(index));
      batch.results[index] = batch.copyFrame(index, frame);
      this.#leaving += 1;
      this.udp.send(frame, () => {
        this.#leaving -= 1;
        this.#writable.check();
      });
    }
    return batch.count - first;
  }

  receive(batch: PacketBatch): number {
    while (this.#arrived[0] && batch.deliver(this.#arrived[0]) !== 'full') this.#arrived.shift();
    return batch.frameChains.subarray(0, batch.frameCount).reduce((sum, chains) => sum + chains, 0);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#readable.end();
    this.#writable.end();
    this.udp.close();
  }
}
