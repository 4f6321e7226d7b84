import { VhostError } from '@rxvhost/core';
import { type Observable, Subject } from 'rxjs';
import type { PacketEndpoint, PayloadSink } from '../carrier/packet-endpoint.js';
import { packetTypesOf } from '../protocol/features.js';
import { isPort } from '../protocol/limits.js';
import { Operation, PacketType } from '../protocol/operation.js';
import type { PacketHeader } from '../protocol/packet-header.js';
import type { ConnectionHost } from './connection-host.js';
import { type ConnectionOptions, DEFAULT_CONNECTION_OPTIONS } from './connection-options.js';
import { ConnectionTable } from './connection-table.js';
import {
  type ConnectOptions,
  DEFAULT_MAX_CONNECTIONS,
  DEFAULT_MAX_REPLIES,
  type EndpointOptions,
} from './endpoint-options.js';
import { IncomingRequest } from './incoming-request.js';
import { Listeners } from './listeners.js';
import { PortNumbers } from './port-numbers.js';
import { type ResetPacket, ResetQueue } from './reset-queue.js';
import type {
  Acceptor,
  Connection,
  ConnectionType,
  ConnectionUser,
  VsockAddress,
} from './roles.js';
import { Rotation } from './rotation.js';
import { type Scheduler, SystemScheduler } from './scheduler.js';
import { type EndpointStatistics, newEndpointCounters, type ResetReason } from './statistics.js';
import { VsockConnection } from './vsock-connection.js';
import type { VsockEvent } from './vsock-events.js';

/**
 * One machine's end of a vsock: its connections and who listens. Knows nothing of queues; a carrier
 * brings it packets and fetches those that it has to send (see {@link PacketEndpoint}).
 *
 * Memory that a peer can make it use is bounded: for each of `maxConnections` connections three times
 * its buffer (what was received, a message that is not whole yet, where messages end) and some 4 KiB;
 * beside that `maxReplies` answers of some 100 bytes.
 */
export class VsockEndpoint implements PacketEndpoint, ConnectionHost {
  readonly scheduler: Scheduler;
  readonly counters = newEndpointCounters();
  readonly #table = new ConnectionTable();
  readonly #rotation = new Rotation<VsockConnection>();
  readonly #resets = new ResetQueue();
  readonly #listeners: Listeners;
  readonly #ports: PortNumbers;
  readonly #options: ConnectionOptions;
  readonly #peerCid: number | undefined;
  readonly #maxConnections: number;
  readonly #maxReplies: number;
  readonly #sendable = new Subject<void>();
  readonly #events = new Subject<VsockEvent>();
  #cid: number;
  #types = packetTypesOf(0n);
  #detached = false;
  /** The carrier knows that there is something to send. */
  #told = false;

  readonly sendable$: Observable<void> = this.#sendable.asObservable();
  /** Connections that begin and end, and resets of the transport. */
  readonly events$: Observable<VsockEvent> = this.#events.asObservable();

  constructor(options: EndpointOptions) {
    this.#cid = options.cid;
    this.#peerCid = options.peerCid;
    this.#maxConnections = options.maxConnections ?? DEFAULT_MAX_CONNECTIONS;
    this.#maxReplies = options.maxReplies ?? DEFAULT_MAX_REPLIES;
    this.#options = { ...DEFAULT_CONNECTION_OPTIONS, ...options.connections };
    this.#listeners = new Listeners(options.fallback);
    this.#ports = new PortNumbers(options.firstPort ?? Math.floor(Math.random() * 2 ** 31));
    this.scheduler = options.scheduler ?? new SystemScheduler();
  }

  /** Our address. */
  get cid(): number {
    return this.#cid;
  }

  /** After a reset of the transport the address may be another one (seed D6). */
  setCid(cid: number): void {
    this.#cid = cid;
  }

  /** Who decides about ports that nobody listens on. */
  setFallback(acceptor: Acceptor | undefined): void {
    this.#listeners.fallback = acceptor;
  }

  /**
   * Lets `acceptor` decide about connections to `port`. Returns how to stop that; connections stay.
   * Throws `EINVAL` for no port, `EADDRINUSE` where somebody listens already.
   */
  listen(port: number, acceptor: Acceptor, type: ConnectionType = 'stream'): () => void {
    this.#listeners.add(port, type, acceptor);
    return () => this.#listeners.remove(port, acceptor);
  }

  /** A port that nobody uses. Throws `EADDRNOTAVAIL` when there is none. */
  freePort(): number {
    return this.#ports.take((port) => this.#listeners.has(port) || this.#table.usesPort(port));
  }

  /**
   * Begins to open a connection; the user hears `connected`, or `closed` with `ECONNREFUSED`,
   * `ETIMEDOUT` or `ECONNRESET`. Throws `EINVAL` for no port or buffer size, `EADDRINUSE` for a port
   * of ours that is used, `EADDRNOTAVAIL` when none is free, `ENOBUFS` over `maxConnections`,
   * `EPROTONOSUPPORT` for a type that was not negotiated, `ENODEV` after {@link detach}.
   */
  connect(options: ConnectOptions, user: ConnectionUser): Connection {
    const { cid, port, type = 'stream', localPort, ...rest } = options;
    if (this.#detached) throw new VhostError('ENODEV', 'there is no vsock device');
    if (!isPort(port)) throw new VhostError('EINVAL', `${port} is no vsock port`);
    if (!this.#types[type]) {
      throw new VhostError('EPROTONOSUPPORT', `vsock: ${type} sockets were not negotiated`);
    }
    if (this.#isFull) {
      throw new VhostError('ENOBUFS', `vsock: there are ${this.counters.open} connections`);
    }
    const local = { cid: this.#cid, port: localPort ?? this.freePort() };
    if (!isPort(local.port)) throw new VhostError('EINVAL', `${local.port} is no vsock port`);
    if (this.#table.find(local.port, port, cid) !== undefined) {
      throw new VhostError('EADDRINUSE', `vsock port ${local.port} is used`);
    }
    const connection = this.#add(type, local, { cid, port }, 'asking', rest);
    connection.setUser(user);
    this.counters.opened += 1;
    this.ready(connection);
    return connection;
  }

  /** There is no carrier any more: as {@link reset}, and connecting fails with `ENODEV`. */
  detach(reason: VhostError): void {
    this.#detached = true;
    this.reset(reason);
  }

  get queuedReplies(): number {
    return this.#resets.answers;
  }

  get sendable(): boolean {
    return this.#resets.length > 0 || this.#rotation.length > 0;
  }

  setFeatures(features: bigint): void {
    this.#types = packetTypesOf(features);
  }

  reset(reason: VhostError): void {
    this.#resets.clear();
    for (const connection of this.#table.all()) connection.lose(reason);
    this.#told &&= this.sendable;
    this.#events.next({ kind: 'transport-reset', reason });
  }

  receive(header: PacketHeader, payload: readonly Uint8Array[]): void {
    const { counters } = this;
    counters.packetsReceived += 1;
    if (header.destinationCid !== this.#cid) counters.drops.destination += 1;
    else if (!this.#mayCome(header)) counters.drops.source += 1;
    else this.#dispatch(header, payload);
  }

  next(header: PacketHeader, room: number, sink: PayloadSink): boolean {
    const written = this.#resets.next(header) || this.#nextInRotation(header, room, sink);
    if (written) this.counters.packetsSent += 1;
    this.#told &&= this.sendable;
    return written;
  }

  /** A copy of the counters. */
  statistics(): EndpointStatistics {
    const { resetsSent, drops } = this.counters;
    return { ...this.counters, resetsSent: { ...resetsSent }, drops: { ...drops } };
  }

  ready(connection: VsockConnection): void {
    this.#rotation.add(connection);
    this.#tell();
  }

  over(connection: VsockConnection, reset: ResetReason | undefined): void {
    this.#rotation.remove(connection);
    this.#table.remove(connection);
    const { type, packetType, local, remote } = connection;
    if (reset !== undefined) {
      this.#reset({ type: packetType, local, remote, isAnswer: false }, reset);
    }
    this.#told &&= this.sendable;
    this.#events.next({ kind: 'closed', type, local, remote, reset });
  }

  released(): void {
    this.counters.open -= 1;
  }

  #nextInRotation(header: PacketHeader, room: number, sink: PayloadSink): boolean {
    for (let tries = this.#rotation.length; tries > 0; tries -= 1) {
      const connection = this.#rotation.shift();
      if (connection === undefined) return false;
      const written = connection.write(header, room, sink);
      if (written) {
        this.counters.bytesSent += header.length;
        connection.written();
        return true;
      }
      // What has more to say than this packet has room for keeps its place in the order.
      if (connection.sendable) this.#rotation.add(connection);
    }
    return false;
  }

  /** A connection keeps its place until its user has everything and its RST has gone. */
  get #isFull(): boolean {
    const resets = this.#resets.length - this.#resets.answers;
    return this.counters.open + resets >= this.#maxConnections;
  }

  #mayCome({ sourceCid }: PacketHeader): boolean {
    if (this.#peerCid !== undefined) return sourceCid === this.#peerCid;
    return sourceCid < 2 ** 32;
  }

  #dispatch(header: PacketHeader, payload: readonly Uint8Array[]): void {
    const { sourceCid, sourcePort, destinationPort, operation, type } = header;
    const connection = this.#table.find(destinationPort, sourcePort, sourceCid);
    if (operation === Operation.RST && connection?.packetType !== type) {
      this.counters.drops.reset += 1;
    } else if (connection?.packetType === type) {
      connection.receive(header, payload);
    } else if (connection !== undefined || !this.#knows(type)) {
      this.#answer(header, 'type');
    } else if (operation === Operation.REQUEST) {
      this.#request(header, type === PacketType.STREAM ? 'stream' : 'seqpacket');
    } else {
      this.#answer(header, 'unknown');
    }
  }

  #request(header: PacketHeader, type: ConnectionType): void {
    const acceptor = this.#listeners.find(header.destinationPort, type);
    if (acceptor === undefined || this.#isFull) {
      this.#answer(header, acceptor === undefined ? 'refused' : 'limit');
      return;
    }
    const local = { cid: this.#cid, port: header.destinationPort };
    const remote = { cid: header.sourceCid, port: header.sourcePort };
    const connection = this.#add(type, local, remote, 'asked', {});
    connection.hearCredit(header);
    acceptor.request(new IncomingRequest(connection));
  }

  #add(
    type: ConnectionType,
    local: VsockAddress,
    remote: VsockAddress,
    opening: 'asking' | 'asked',
    options: Partial<ConnectionOptions>,
  ): VsockConnection {
    const all = { ...this.#options, ...options };
    const connection = new VsockConnection(this, type, local, remote, all, opening);
    this.#table.add(connection);
    this.counters.open += 1;
    const by = opening === 'asking' ? 'us' : 'peer';
    this.#events.next({ kind: 'opening', by, type, local, remote });
    return connection;
  }

  #knows(type: number): boolean {
    if (type === PacketType.STREAM) return this.#types.stream;
    return type === PacketType.SEQPACKET && this.#types.seqpacket;
  }

  #answer(header: PacketHeader, reason: ResetReason): void {
    const local = { cid: this.#cid, port: header.destinationPort };
    const remote = { cid: header.sourceCid, port: header.sourcePort };
    if (this.queuedReplies >= this.#maxReplies) this.counters.drops.replies += 1;
    else this.#reset({ type: header.type, local, remote, isAnswer: true }, reason);
  }

  #reset(packet: ResetPacket, reason: ResetReason): void {
    this.counters.resetsSent[reason] += 1;
    this.#resets.push(packet);
    this.#tell();
  }

  /** After one thing more to send. Not again for what is put back in line while a packet is written. */
  #tell(): void {
    if (this.#told) return;
    this.#told = true;
    this.#sendable.next();
  }
}
