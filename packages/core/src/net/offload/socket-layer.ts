import type { Observable } from 'rxjs';
import type { PacketSocket } from '../../backend/packet-socket.js';
import type { PacketBatch } from '../../virtqueue/packet-batch.js';

/**
 * A socket over another one, for one queue and one attach: what it does not change goes straight
 * through. Chosen when a queue starts, so that a queue without it pays nothing.
 */
export abstract class SocketLayer implements PacketSocket {
  readonly readable$: Observable<void>;
  readonly writable$: Observable<void>;
  readonly sendBufferFill?: () => number;

  constructor(
    protected readonly inner: PacketSocket,
    readonly headerLength: number,
  ) {
    this.readable$ = inner.readable$;
    this.writable$ = inner.writable$;
    if (inner.sendBufferFill !== undefined) {
      this.sendBufferFill = () => inner.sendBufferFill?.() ?? 0;
    }
  }

  send(batch: PacketBatch, first: number): number {
    return this.inner.send(batch, first);
  }

  receive(batch: PacketBatch): number {
    return this.inner.receive(batch);
  }

  /** Releases what the layer has of its own; the socket below goes on. */
  release(): void {}

  /** A layer does not own its socket. */
  close(): void {
    this.release();
  }
}
