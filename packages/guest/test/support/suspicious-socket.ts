import { EventLoopTurns, LocalReadiness, type PacketBatch, type PacketSocket } from '@rxvhost/core';
import type { GuardedMemory } from './guarded-memory.js';

/** What the socket does in one state. */
export interface SocketBehaviour {
  /** Frames that the first `send` takes; later ones take all. */
  readonly taken: number;
  /** Lengths of the frames that it has to give. */
  readonly frames: readonly number[];
}

/**
 * A backend that trusts nobody: it looks at every segment it is given, reads or writes all of it, and
 * lets the guest change the ring while the device waits for it.
 */
export class SuspiciousSocket implements PacketSocket {
  readonly readable$;
  readonly writable$;
  readonly violations: string[] = [];
  /** Called while the device is in the middle of its work. */
  meanwhile: () => void = () => {};
  sent = 0;
  received = 0;
  #taken = 0;
  #frames: number[] = [];
  readonly #scratch = new Uint8Array(1 << 16);
  readonly #readable: LocalReadiness;

  constructor(
    readonly memory: GuardedMemory,
    readonly headerLength: 0 | 12,
  ) {
    const turns = new EventLoopTurns();
    this.#readable = new LocalReadiness(turns, () => this.#frames.length > 0);
    this.readable$ = this.#readable.ready$;
    this.writable$ = new LocalReadiness(turns, () => true).ready$;
  }

  setHeaderLength(): void {}

  behave({ taken, frames }: SocketBehaviour): void {
    this.#taken = taken;
    this.#frames = [...frames];
    this.#readable.check();
  }

  send(batch: PacketBatch, first: number): number {
    this.#inspect(batch);
    const count = Math.min(batch.count - first, this.#taken);
    this.#taken = batch.capacity;
    for (let frame = first; frame < first + count; frame += 1) {
      batch.results[frame] = batch.copyFrame(frame, this.#scratch);
    }
    this.sent += count;
    this.meanwhile();
    return count;
  }

  receive(batch: PacketBatch): number {
    this.#inspect(batch);
    let chains = 0;
    for (let length = this.#frames.shift(); length !== undefined; length = this.#frames.shift()) {
      const outcome = batch.deliver(this.#scratch.subarray(0, length));
      if (outcome === 'full') {
        this.#frames.unshift(length);
        break;
      }
      if (outcome === 'delivered') chains += 1;
    }
    this.received += chains;
    this.meanwhile();
    return chains;
  }

  close(): void {
    this.#readable.end();
  }

  #inspect(batch: PacketBatch): void {
    const { segments, windows, count, firstSegment, lengths } = batch;
    for (let at = 0; at < segments.count; at += 1) {
      const [window, offset, length] = [segments.window, segments.offset, segments.length].map(
        (array) => array[at] as number,
      ) as [number, number, number];
      if (!this.memory.holds(windows.bytes(window), offset, length)) {
        this.violations.push(`segment ${at}: ${length} bytes at ${offset} of window ${window}`);
      }
    }
    for (let chain = 0; chain < count; chain += 1) {
      let total = 0;
      const end = firstSegment[chain + 1] as number;
      for (let at = firstSegment[chain] as number; at < end; at += 1) {
        total += segments.length[at] as number;
      }
      if (total !== lengths[chain]) this.violations.push(`chain ${chain}: ${total} bytes`);
    }
  }
}
