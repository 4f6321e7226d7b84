import { type ErrnoName, VhostError } from '@rxvhost/core';
import type { PayloadSink } from '../carrier/packet-endpoint.js';
import { Operation, PacketType } from '../protocol/operation.js';
import type { PacketHeader } from '../protocol/packet-header.js';
import type { ConnectionOptions } from './connection-options.js';
import { IncomingSide } from './incoming-side.js';
import { Outbox } from './outbox.js';
import { OutgoingSide } from './outgoing-side.js';
import type { ConnectionType, VsockAddress } from './roles.js';
import { SendCredit } from './send-credit.js';

/** What a connection is made of, whatever its state: both addresses, what it hears, what it says. */
export class ConnectionSides {
  /** Links of the line in which connections wait for their turn to send. */
  before: this | undefined;
  after: this | undefined;
  queued = false;

  bytesReceived = 0;
  bytesSent = 0;

  /** The `type` that its packets carry. */
  readonly packetType: number;
  protected readonly incoming: IncomingSide;
  protected readonly outbox: Outbox;
  protected readonly outgoing: OutgoingSide;

  constructor(
    readonly type: ConnectionType,
    readonly local: VsockAddress,
    readonly remote: VsockAddress,
    options: ConnectionOptions,
  ) {
    const messages = type === 'seqpacket';
    this.packetType = messages ? PacketType.SEQPACKET : PacketType.STREAM;
    this.incoming = new IncomingSide(messages, options);
    this.outbox = new Outbox(new SendCredit(options.startCount), messages);
    const { credit } = this.incoming;
    this.outgoing = new OutgoingSide(local, remote, this.packetType, credit, this.outbox);
  }

  get peerBufferSize(): number {
    return this.outbox.credit.allocation;
  }

  get unsentBytes(): number {
    return this.outbox.queue.length;
  }

  get untakenBytes(): number {
    return this.incoming.inbox.length;
  }

  get ended(): boolean {
    return this.incoming.ended;
  }

  /** It has a packet to send, given room enough. */
  get sendable(): boolean {
    return this.outgoing.choose(Number.POSITIVE_INFINITY) !== Operation.INVALID;
  }

  /** Takes note of the peer's buffer, as every packet tells of it. False for what cannot be true. */
  hearCredit(header: PacketHeader): boolean {
    return this.outbox.credit.update(header.bufferAllocation, header.forwardedCount);
  }

  /** Writes the next packet; false when there is none that fits. */
  write(header: PacketHeader, room: number, sink: PayloadSink): boolean {
    const operation = this.outgoing.choose(room);
    if (operation === Operation.INVALID) return false;
    this.outgoing.write(operation, header, room, sink);
    this.bytesSent += header.length;
    return true;
  }

  protected error(code: ErrnoName, what: string): VhostError {
    const { local, remote } = this;
    return new VhostError(code, `vsock ${local.port} to ${remote.cid}:${remote.port}: ${what}`);
  }
}
