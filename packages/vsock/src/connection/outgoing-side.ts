import type { PayloadSink } from '../carrier/packet-endpoint.js';
import { Operation, ShutdownFlag } from '../protocol/operation.js';
import type { PacketHeader } from '../protocol/packet-header.js';
import type { Outbox } from './outbox.js';
import type { ReceiveCredit } from './receive-credit.js';
import type { VsockAddress } from './roles.js';

/**
 * What a connection has to say, and in which order: a greeting (REQUEST or RESPONSE) before anything
 * else, then payload, then that no more comes, then what only concerns credit. Each is said once
 * however often it was wished for, so what waits to be said is bounded.
 */
export class OutgoingSide {
  /** REQUEST or RESPONSE until it has been said. */
  greeting: number = Operation.INVALID;
  /** Both sides have agreed to the connection, and it is not over. */
  open = false;
  /** The peer asked for credit. */
  updateWanted = false;
  #requestWanted = false;
  #stalled = false;
  /** What we want the peer to know, and what it was told: {@link ShutdownFlag}. */
  #shutdown = 0;
  #shutdownSent = 0;

  constructor(
    readonly local: VsockAddress,
    readonly remote: VsockAddress,
    readonly packetType: number,
    readonly credit: ReceiveCredit,
    readonly outbox: Outbox,
  ) {}

  /** The user will send no more. */
  get ended(): boolean {
    return (this.#shutdown & ShutdownFlag.SEND) !== 0;
  }

  /** The peer has been told that no more comes, after everything else. */
  get endSent(): boolean {
    return (this.#shutdownSent & ShutdownFlag.SEND) !== 0;
  }

  /** A {@link ShutdownFlag} more is to be said when everything queued has been sent. */
  shutDown(flags: number): void {
    this.#shutdown |= flags;
  }

  /**
   * Sees whether payload waits for credit, and asks for some, once: an answer that gives none must
   * not lead to another question.
   * @returns true when it has just begun to wait
   */
  noteStall(): boolean {
    const before = this.#stalled;
    this.#stalled = this.open && this.outbox.stalled;
    if (this.#stalled && !before) this.#requestWanted = true;
    if (!this.#stalled) this.#requestWanted = false;
    return this.#stalled && !before;
  }

  /** The operation to send next in a packet with `room` for payload; INVALID for none. */
  choose(room: number): number {
    if (this.greeting !== Operation.INVALID) return this.greeting;
    if (!this.open) return Operation.INVALID;
    if (this.outbox.fits(room)) return Operation.RW;
    if (this.#requestWanted) return Operation.CREDIT_REQUEST;
    if (this.#shutdown !== this.#shutdownSent && this.outbox.queue.isEmpty) {
      return Operation.SHUTDOWN;
    }
    const update = this.updateWanted || this.credit.worthTelling;
    return update ? Operation.CREDIT_UPDATE : Operation.INVALID;
  }

  /** Writes the packet that {@link choose} has chosen. Every packet tells of our buffer too. */
  write(operation: number, header: PacketHeader, room: number, sink: PayloadSink): void {
    header.sourceCid = this.local.cid;
    header.destinationCid = this.remote.cid;
    header.sourcePort = this.local.port;
    header.destinationPort = this.remote.port;
    header.length = 0;
    header.type = this.packetType;
    header.operation = operation;
    header.flags = 0;
    this.credit.tell(header);
    this.updateWanted = false;
    if (operation === Operation.RW) {
      this.outbox.move(header, room, sink);
    } else if (operation === Operation.SHUTDOWN) {
      header.flags = this.#shutdown;
      this.#shutdownSent = this.#shutdown;
    } else if (operation === Operation.CREDIT_REQUEST) {
      this.#requestWanted = false;
    } else if (operation === this.greeting) {
      this.greeting = Operation.INVALID;
    }
  }
}
