import { Subject } from 'rxjs';
import {
  CompletionBatch,
  ERRNO,
  LocalReadiness,
  NET_FEATURE,
  type PacketBatch,
  type PacketSocket,
  type SocketOffloads,
  type TurnScheduler,
  type ZeroCopySender,
} from '../../src/index.js';
import { referenceTo } from './cable-socket.js';
import { CHECKSUM_VALID } from './model-header.js';
import type { ModelLedger } from './model-ledger.js';

/** Frames of this length are refused. */
export const REFUSED_LENGTH = 21;

interface Outstanding {
  readonly ticket: number;
  readonly number: number;
  readonly reference: PacketBatch;
}

/** How a {@link ModelSocket} behaves, for a whole run. */
export interface ModelSocketOptions {
  readonly zeroCopy: boolean;
  /** Whether frames carry the virtio-net header. */
  readonly carriesHeader: boolean;
  /** Whether it takes and gives unfinished checksums; only one that carries the header can. */
  readonly honoursChecksum: boolean;
}

/** A frame that waits to be received, and the flags of its header. */
interface Incoming {
  readonly frame: Uint8Array;
  readonly flags: number;
}

/** A backend that does what the test says, and writes it all into the ledger. */
export class ModelSocket implements PacketSocket {
  headerLength: 0 | 10 | 12;
  readonly setHeaderLength?: (bytes: 10 | 12) => void;
  readonly zeroCopy?: ZeroCopySender;
  readonly outstanding: Outstanding[] = [];
  readonly toReceive: Incoming[] = [];
  readonly offloads?: SocketOffloads;
  /** What the driver has been found to accept. */
  #accepted = 0n;
  closed = 0;
  #room = 5;
  readonly #completions = new Subject<CompletionBatch>();
  readonly #readable: LocalReadiness;
  readonly #writable: LocalReadiness;
  readonly readable$;
  readonly writable$;

  constructor(
    private readonly ledger: ModelLedger,
    turns: TurnScheduler,
    { zeroCopy, carriesHeader, honoursChecksum }: ModelSocketOptions,
  ) {
    this.headerLength = carriesHeader ? 12 : 0;
    if (carriesHeader) {
      this.setHeaderLength = (bytes) => {
        this.headerLength = bytes;
      };
    }
    if (carriesHeader && honoursChecksum) {
      this.offloads = {
        supported: NET_FEATURE.CSUM | NET_FEATURE.GUEST_CSUM,
        accept: (offloads) => {
          this.#accepted = offloads;
        },
      };
    }
    if (zeroCopy) {
      this.zeroCopy = {
        completions$: this.#completions,
        send: (batch, first, tickets) => this.#send(batch, first, tickets),
      };
    }
    this.#readable = new LocalReadiness(turns, () => this.toReceive.length > 0);
    this.#writable = new LocalReadiness(turns, () => this.#room > 0);
    this.readable$ = this.#readable.ready$;
    this.writable$ = this.#writable.ready$;
  }

  /** It takes this many frames from now on, then it is full. */
  set room(frames: number) {
    this.#room = frames;
    this.#writable.check();
  }

  /** @param verified - its checksum has been looked at, says its header where it carries one */
  inject(frame: Uint8Array, verified: boolean): void {
    const flags = verified && this.offloads !== undefined ? CHECKSUM_VALID : 0;
    this.toReceive.push({ frame, flags });
    this.#readable.check();
  }

  send(batch: PacketBatch, first: number): number {
    return this.#send(batch, first, undefined);
  }

  receive(batch: PacketBatch): number {
    for (;;) {
      const [first] = this.toReceive;
      if (first === undefined) break;
      const { frame, flags } = first;
      const carried = new Uint8Array(this.headerLength + frame.length);
      if (flags !== 0) carried[0] = flags;
      carried.set(frame, this.headerLength);
      const outcome = batch.deliver(carried);
      if (outcome === 'full') break;
      this.toReceive.shift();
      const told = (this.#accepted & NET_FEATURE.GUEST_CSUM) === 0n ? 0 : flags;
      this.ledger.wrote(frame, told, outcome);
    }
    return batch.frameChains.subarray(0, batch.frameCount).reduce((sum, chains) => sum + chains, 0);
  }

  /** Completes some of what is outstanding, in the order of `picks`, as one batch. */
  complete(picks: readonly number[], succeeded: boolean): void {
    const batch = new CompletionBatch();
    for (const pick of picks) {
      const [one] = this.outstanding.splice(pick % Math.max(1, this.outstanding.length), 1);
      if (one === undefined || !batch.push(one.ticket, succeeded)) break;
      this.ledger.complete(one.number, this.#bytes(one.reference, 0));
    }
    if (batch.count > 0) this.#completions.next(batch);
  }

  /** Completes a ticket that is not outstanding. */
  completeStray(ticket: number): void {
    if (this.outstanding.some((one) => one.ticket === ticket)) return;
    const batch = new CompletionBatch(1);
    batch.push(ticket, true);
    this.#completions.next(batch);
  }

  close(): void {
    this.closed += 1;
    this.#readable.end();
    this.#writable.end();
  }

  #send(batch: PacketBatch, first: number, tickets: Uint32Array | undefined): number {
    let index = first;
    for (; index < batch.count && this.#room > 0; index += 1) {
      const bytes = this.#bytes(batch, index);
      const refused = bytes.length === REFUSED_LENGTH;
      batch.results[index] = refused ? -ERRNO.EINVAL : batch.frameLength(index);
      const how = refused ? 'refused' : tickets === undefined ? 'copied' : 'outstanding';
      const number = this.ledger.take(bytes, how);
      if (how === 'outstanding') {
        const ticket = tickets?.[index] as number;
        this.outstanding.push({ ticket, number, reference: referenceTo(batch, index) });
      }
      this.#room -= 1;
    }
    return index - first;
  }

  /** A frame without the header that this socket carries. */
  #bytes(batch: PacketBatch, index: number): Uint8Array {
    const bytes = new Uint8Array(batch.frameLength(index));
    batch.copyFrame(index, bytes);
    return bytes.subarray(this.headerLength);
  }
}
