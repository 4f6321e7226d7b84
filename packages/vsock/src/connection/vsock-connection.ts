/**
 * A short primer of vsock connections (virtio 1.2, 5.10.6).
 *
 * *Opening.* One side sends REQUEST, the other answers RESPONSE, or RST for no. A connection is named
 * by both ends' address (CID) and port; there is no number of its own.
 *
 * *Payload* travels in RW packets, in order and without loss, for the carrier is a virtqueue. There
 * are no acknowledgements and nothing is ever sent twice.
 *
 * *Credit* is what keeps a sender from overrunning a receiver. Every packet tells of its sender's
 * buffer for this connection: `buf_alloc`, how large it is, and `fwd_cnt`, how many bytes have been
 * taken out of it since the beginning. So a sender knows how much room there is:
 *
 *     room = buf_alloc - (bytes sent - fwd_cnt)
 *
 * Counts wrap at 2^32, and `buf_alloc` may change at any time: made smaller, the room may be less
 * than nothing. When only one side has something to say, the other tells of its buffer with
 * CREDIT_UPDATE, best before the sender stalls; a sender may ask with CREDIT_REQUEST.
 *
 * *Closing.* SHUTDOWN says that its sender will not receive, or not send, any more; it cannot be
 * taken back. After "not send" the other direction goes on as long as it likes. When a side is done
 * with both it says so, and the other agrees with RST. One that does not agree in time gets an RST
 * itself. Only then may the ports be used again.
 *
 * *Messages.* A `seqpacket` connection is the same, but an RW may be flagged as the end of a message.
 *
 * RST ends a connection at any time, is the answer to what makes no sense, and is never answered.
 */
import type { VhostError } from '@rxvhost/core';
import { Operation, ShutdownFlag } from '../protocol/operation.js';
import type { PacketHeader } from '../protocol/packet-header.js';
import type { ConnectionHost } from './connection-host.js';
import type { ConnectionOptions } from './connection-options.js';
import { ConnectionSides } from './connection-sides.js';
import type { Connection, ConnectionType, ConnectionUser, Message, VsockAddress } from './roles.js';
import { Deadline } from './scheduler.js';
import { SILENT_USER } from './silent-user.js';
import type { ResetReason } from './statistics.js';

/**
 * - `asked`: the peer wants a connection and has no answer yet
 * - `asking`: we want one and have no answer yet
 * - `open`: both agreed; either direction may be shut down
 * - `closing`: we are done, the peer is to agree
 */
type State = 'asked' | 'asking' | 'open' | 'closing' | 'closed';

/** One connection, whichever side opened it and whichever type it has. */
export class VsockConnection extends ConnectionSides implements Connection {
  readonly #deadline: Deadline;
  #user: ConnectionUser = SILENT_USER;
  #state: State;
  /** `send` has said to wait. */
  #full = false;
  /** Over, but the user has not taken everything yet. */
  #keeping = false;

  /** @param opening - `asking` for a connection that we want, `asked` for one that the peer wants */
  constructor(
    private readonly host: ConnectionHost,
    type: ConnectionType,
    local: VsockAddress,
    remote: VsockAddress,
    private readonly options: ConnectionOptions,
    opening: 'asking' | 'asked',
  ) {
    super(type, local, remote, options);
    if (opening === 'asking') this.outgoing.greeting = Operation.REQUEST;
    this.#state = opening;
    this.#deadline = new Deadline(host.scheduler);
    this.#deadline.start(options.connectTimeout, () => {
      const late = `no answer within ${options.connectTimeout} ms`;
      this.#finish(this.error('ETIMEDOUT', late), 'timeout');
    });
  }

  get closed(): boolean {
    return this.#state === 'closed';
  }

  setUser(user: ConnectionUser): void {
    this.#user = user;
  }

  send(bytes: Uint8Array, sent?: () => void, endOfRecord = false): boolean {
    const { queue, credit, messages } = this.outbox;
    if (this.#state === 'asking') throw this.error('ENOTCONN', 'not connected yet');
    if (this.#state !== 'open' || this.outgoing.ended) throw this.error('EPIPE', 'ended');
    if (this.incoming.peerRefuses) throw this.error('EPIPE', 'the peer takes no more');
    if (messages && bytes.length > credit.allocation) {
      const sizes = `a message of ${bytes.length} bytes, the peer keeps ${credit.allocation}`;
      throw this.error('EMSGSIZE', sizes);
    }
    if (!messages && bytes.length === 0 && queue.isEmpty) {
      sent?.();
      return true;
    }
    queue.push(bytes, sent, endOfRecord);
    this.#full ||= queue.length >= this.options.sendMark;
    this.#review();
    return !this.#full;
  }

  take(): Uint8Array | undefined {
    const bytes = this.incoming.inbox.take();
    if (bytes !== undefined) this.#taken();
    return bytes;
  }

  takeMessage(): Message | undefined {
    const message = this.incoming.inbox.takeMessage();
    if (message !== undefined) this.#taken();
    return message;
  }

  end(): void {
    this.outgoing.shutDown(ShutdownFlag.SEND);
    this.#review();
  }

  close(): void {
    if (this.#state === 'open') this.#startClosing();
    else if (this.#state !== 'closing') this.abort();
  }

  abort(reason?: VhostError): void {
    this.#finish(reason, this.#state === 'asked' ? 'refused' : 'aborted');
    this.#release();
  }

  setBufferSize(bytes: number): void {
    this.incoming.setBufferSize(bytes);
    this.#review();
  }

  /** The answer to a peer's wish: yes. False when nobody wishes for it any more. */
  accept(user: ConnectionUser): boolean {
    if (this.#state !== 'asked') return false;
    this.#user = user;
    this.outgoing.greeting = Operation.RESPONSE;
    this.#open();
    this.host.counters.accepted += 1;
    this.#review();
    return true;
  }

  /** The transport has gone: over without a packet. */
  lose(reason: VhostError): void {
    this.#finish(reason, undefined);
  }

  /** A packet of this connection came in; its type is right. */
  receive(header: PacketHeader, payload: readonly Uint8Array[]): void {
    const { operation } = header;
    if (operation === Operation.RST) {
      this.#resetByPeer();
      return;
    }
    if (!this.hearCredit(header)) this.host.counters.falseCredit += 1;
    if (this.#state === 'asking' && operation === Operation.RESPONSE) {
      this.#open();
      this.#user.connected();
    } else if (this.outgoing.open) {
      this.#receiveOpen(header, payload);
    } else {
      this.#violate('protocol');
    }
    this.#review();
  }

  /** After {@link write}: tells the user what has gone, and looks what is next. */
  written(): void {
    const { queue } = this.outbox;
    queue.settle();
    if (this.#full && queue.length <= this.options.sendMark >>> 1) {
      this.#full = false;
      this.#user.writable();
    }
    this.#review();
  }

  #receiveOpen(header: PacketHeader, payload: readonly Uint8Array[]): void {
    switch (header.operation) {
      case Operation.RW:
        this.#receivePayload(header, payload);
        return;
      case Operation.SHUTDOWN:
        this.#receiveShutdown(header.flags);
        return;
      case Operation.CREDIT_UPDATE:
        return;
      case Operation.CREDIT_REQUEST:
        this.outgoing.updateWanted = true;
        return;
      default:
        this.#violate('protocol');
    }
  }

  #receivePayload(header: PacketHeader, payload: readonly Uint8Array[]): void {
    const { inbox, peerEnded } = this.incoming;
    const { counters } = this.host;
    if (peerEnded) {
      counters.drops.afterShutdown += 1;
      return;
    }
    const before = inbox.isEmpty;
    const fault = this.incoming.put(header, payload);
    if (fault !== undefined) {
      this.#violate(fault);
      return;
    }
    this.bytesReceived += header.length;
    counters.bytesReceived += header.length;
    if (this.#state === 'closing') inbox.discard();
    else if (before && !inbox.isEmpty) this.#user.readable();
  }

  #receiveShutdown(flags: number): void {
    const news = this.incoming.shutDown(flags);
    if ((news & ShutdownFlag.RECEIVE) !== 0) {
      this.outbox.queue.clear();
      if (this.#state === 'open') this.#user.refusing();
    }
    const ending = (news & ShutdownFlag.SEND) !== 0 && this.#state === 'open';
    if (ending && this.incoming.inbox.isEmpty) this.#user.readable();
    if (this.incoming.peerEnded && this.incoming.peerRefuses) this.#finish(undefined, 'closed');
  }

  #resetByPeer(): void {
    this.host.counters.resetsReceived += 1;
    if (this.#state === 'asking') {
      this.#finish(this.error('ECONNREFUSED', 'refused by the peer'), undefined);
      return;
    }
    // A peer that has ended may go as soon as it has everything.
    const agreed = this.incoming.peerEnded && this.outgoing.endSent;
    const expected = agreed || this.#state !== 'open';
    this.#finish(expected ? undefined : this.error('ECONNRESET', 'reset by the peer'), undefined);
  }

  #violate(reset: ResetReason): void {
    const code = reset === 'protocol' ? 'EPROTO' : 'ENOBUFS';
    this.#finish(this.error(code, `the peer broke the rules: ${reset}`), reset);
  }

  #open(): void {
    this.#deadline.stop();
    this.#state = 'open';
    this.outgoing.open = true;
  }

  #startClosing(): void {
    this.#state = 'closing';
    this.incoming.inbox.discard();
    this.outgoing.shutDown(ShutdownFlag.BOTH);
    this.#deadline.start(this.options.lingerTime, () => this.#finish(undefined, 'linger'));
    this.#review();
  }

  #taken(): void {
    if (this.#state !== 'closed') this.#review();
    else if (this.incoming.inbox.isEmpty) this.#release();
  }

  /** After everything that may have changed what there is to send. */
  #review(): void {
    const outgoing = this.outgoing;
    if (this.#state === 'open' && outgoing.endSent && this.ended) this.#startClosing();
    if (outgoing.noteStall()) this.host.counters.creditStalls += 1;
    if (!this.queued && this.sendable) this.host.ready(this);
  }

  #finish(error: VhostError | undefined, reset: ResetReason | undefined): void {
    if (this.#state === 'closed') return;
    // What the peer was never told of needs no end either.
    const unsaid = this.outgoing.greeting === Operation.REQUEST;
    if (this.#state === 'asking') this.host.counters.openFailed += 1;
    this.#state = 'closed';
    this.outgoing.open = false;
    this.outgoing.greeting = Operation.INVALID;
    this.#deadline.stop();
    this.outbox.queue.clear();
    this.#keeping = true;
    this.host.over(this, unsaid ? undefined : reset);
    if (this.incoming.inbox.isEmpty) this.#release();
    this.#user.closed(error);
  }

  /** The user wants nothing of a closed connection any more, or has it all. */
  #release(): void {
    if (!this.#keeping) return;
    this.#keeping = false;
    this.incoming.inbox.discard();
    this.host.released();
  }
}
