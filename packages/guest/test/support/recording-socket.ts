import { EventLoopTurns, LocalReadiness, type PacketBatch, type PacketSocket } from '@rxvhost/core';
import { defer, finalize } from 'rxjs';

/** A backend that keeps what it is sent and gives what it is fed. */
export class RecordingSocket implements PacketSocket {
  headerLength = 0;
  /** Copies of the frames sent. */
  readonly sent: Uint8Array[] = [];
  /** Frames that the guest is to receive. */
  readonly waiting: Uint8Array[] = [];
  /** Called in the middle of every `send`, before the frames are read. */
  meanwhile: () => void = () => {};
  /** Called when the device asks how full the socket is: the last thing before it goes to sleep. */
  beforeSleep: () => void = () => {};
  /** How often the device has asked for frames, and whether it listens for more now. */
  receives = 0;
  listening = false;
  readonly readable$;
  readonly writable$;
  readonly #readable: LocalReadiness;

  constructor() {
    const turns = new EventLoopTurns();
    this.#readable = new LocalReadiness(turns, () => this.waiting.length > 0);
    this.readable$ = defer(() => {
      this.listening = true;
      return this.#readable.ready$.pipe(
        finalize(() => {
          this.listening = false;
        }),
      );
    });
    this.writable$ = new LocalReadiness(turns, () => true).ready$;
  }

  /** Gives the guest frames. */
  feed(...frames: Uint8Array[]): void {
    this.waiting.push(...frames);
    this.#readable.check();
  }

  sendBufferFill(): number {
    this.beforeSleep();
    return 0;
  }

  send(batch: PacketBatch, first: number): number {
    this.meanwhile();
    for (let frame = first; frame < batch.count; frame += 1) {
      const copy = new Uint8Array(batch.frameLength(frame));
      batch.results[frame] = batch.copyFrame(frame, copy);
      this.sent.push(copy);
    }
    return batch.count - first;
  }

  receive(batch: PacketBatch): number {
    this.receives += 1;
    for (let frame = this.waiting[0]; frame !== undefined; frame = this.waiting[0]) {
      if (batch.deliver(frame) === 'full') break;
      this.waiting.shift();
    }
    let chains = 0;
    for (let frame = 0; frame < batch.frameCount; frame += 1) {
      chains += batch.frameChains[frame] as number;
    }
    return chains;
  }

  close(): void {
    this.#readable.end();
  }
}
