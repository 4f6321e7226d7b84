import { errnoName, IOTLB_TYPE, type IotlbRange, VhostError } from '@rxvhost/core';
import { closeFd, connectUnix, socketPair } from '@rxvhost/sys';
import { type Observable, Subject, type Subscription } from 'rxjs';
import { BrokenStream, MessageChannel, type ReceivedMessage } from '../channel/message-channel.js';
import { protocolFeatures, VHOST_USER_F_PROTOCOL_FEATURES } from '../protocol/features.js';
import { FLAG_NEED_REPLY, FLAG_REPLY, VERSION } from '../protocol/header.js';
import type { Message } from '../protocol/message.js';
import {
  MESSAGES,
  type PayloadOf,
  type ReplyOf,
  type RequestName,
} from '../protocol/message-table.js';
import { U64 } from '../protocol/payloads.js';
import { BackendChannelPeer, type BackendRequestHandlers } from './backend-channel-peer.js';
import {
  type Agreement,
  describeRegion,
  type HandshakeOptions,
  type QueueSetup,
  type RawRequest,
  type SharedRegion,
} from './frontend-requests.js';

/** Somebody waits for the answer to this. */
interface Waiting {
  readonly request: number;
  resolve(payload: Uint8Array): void;
  reject(error: VhostError): void;
}

const KNOWN_PROTOCOL_FEATURES = protocolFeatures(
  'MQ',
  'LOG_SHMFD',
  'RARP',
  'REPLY_ACK',
  'BACKEND_REQ',
  'MTU',
  'CONFIG',
  'RESET_DEVICE',
  'CONFIGURE_MEM_SLOTS',
  'STATUS',
);

/**
 * The front-end's half of a vhost-user connection: what a VMM does. Requests are typed by the
 * message table and may be sent without waiting for one another; answers come in order.
 */
export class VhostUserFrontend {
  readonly #channel: MessageChannel;
  readonly #waiting: Waiting[] = [];
  readonly #closed$ = new Subject<void>();
  readonly #reading: Subscription;
  #backendChannel: BackendChannelPeer | undefined;
  #protocolFeatures = 0n;
  #features = 0n;

  /** Completes when either side has closed the connection. */
  readonly closed$: Observable<void> = this.#closed$;

  /** @param fd - a connected, non-blocking Unix stream socket; the client owns it from here on */
  constructor(fd: number) {
    this.#channel = new MessageChannel(fd);
    this.#reading = this.#channel.messages$.subscribe({
      next: (message) => this.#receive(message),
      error: (error: unknown) => this.#fail(error instanceof BrokenStream ? error.cause : hungUp()),
      complete: () => this.#fail(hungUp()),
    });
  }

  /** Connects to a back-end that listens at `path`. Throws `ENOENT`, `ECONNREFUSED`, `EACCES`. */
  static connect(path: string): VhostUserFrontend {
    return new VhostUserFrontend(connectUnix(path));
  }

  /** Virtio features that were set with {@link handshake}. */
  get features(): bigint {
    return this.#features;
  }

  /** Protocol features that were set with {@link handshake}. */
  get protocolFeatures(): bigint {
    return this.#protocolFeatures;
  }

  /** True once either side has closed the connection. */
  get closed(): boolean {
    return this.#channel.closed;
  }

  /**
   * Sends a request and resolves with its reply. One without a reply of its own resolves when the
   * back-end has acknowledged it, or, where REPLY_ACK was not negotiated, when it is sent.
   *
   * Rejects with the back-end's errno where it refused, `ECONNRESET` when it went away, `EPROTO`
   * when it answered something else. The caller keeps `fds`.
   */
  async request<N extends RequestName>(
    name: N,
    payload: PayloadOf<N>,
    fds: readonly number[] = [],
  ): Promise<ReplyOf<N>> {
    const row = MESSAGES[name] as Message<PayloadOf<N>, ReplyOf<N>>;
    const bytes = row.payload.encode(payload);
    const { reply } = row;
    if (reply) {
      const answer = await this.exchange({
        request: row.id,
        payload: bytes,
        fds,
        expectReply: true,
      });
      if (row.emptyReplyOnFailure && answer?.length === 0) {
        throw new VhostError('EIO', `${name}: the back-end refused`);
      }
      return reply.decode(answer ?? new Uint8Array(0));
    }
    const acknowledged = (this.#protocolFeatures & protocolFeatures('REPLY_ACK')) !== 0n;
    const answer = await this.exchange({
      request: row.id,
      flags: acknowledged ? VERSION | FLAG_NEED_REPLY : VERSION,
      payload: bytes,
      fds,
      expectReply: acknowledged,
    });
    if (answer) checkAcknowledgement(name, answer);
    return undefined as ReplyOf<N>;
  }

  /**
   * Sends any message at all and resolves with the reply's payload, undefined when none is expected.
   * For tests, and for requests that the table does not have.
   */
  async exchange(message: RawRequest): Promise<Uint8Array | undefined> {
    const { request, flags = VERSION, payload = new Uint8Array(0), fds, expectReply } = message;
    const sent = this.#channel.send({ request, flags }, payload, fds);
    const answer = expectReply ? this.#answerTo(request) : undefined;
    await Promise.all([sent, answer]);
    return answer;
  }

  /** Sends bytes that need not be a message. For tests. */
  async sendBytes(bytes: Uint8Array, fds?: readonly number[]): Promise<void> {
    await this.#channel.sendBytes(bytes, fds);
  }

  /** What a VMM does on connection: features, protocol features, ownership. */
  async handshake(options: HandshakeOptions): Promise<Agreement> {
    const offeredFeatures = await this.request('GET_FEATURES', undefined);
    const speaksProtocolFeatures = (offeredFeatures & VHOST_USER_F_PROTOCOL_FEATURES) !== 0n;
    if (speaksProtocolFeatures) {
      const offered = await this.request('GET_PROTOCOL_FEATURES', undefined);
      const accepted = offered & (options.protocolFeatures ?? KNOWN_PROTOCOL_FEATURES);
      await this.request('SET_PROTOCOL_FEATURES', accepted);
      this.#protocolFeatures = accepted;
    }
    const multiqueue = (this.#protocolFeatures & protocolFeatures('MQ')) !== 0n;
    const queues = multiqueue ? await this.request('GET_QUEUE_NUM', undefined) : undefined;
    await this.request('SET_OWNER', undefined);
    const features = options.features & offeredFeatures & ~VHOST_USER_F_PROTOCOL_FEATURES;
    const bit30 = speaksProtocolFeatures ? VHOST_USER_F_PROTOCOL_FEATURES : 0n;
    await this.request('SET_FEATURES', features | bit30);
    this.#features = features | bit30;
    return { offeredFeatures, features, protocolFeatures: this.#protocolFeatures, queues };
  }

  /**
   * Shares guest memory: region by region where CONFIGURE_MEM_SLOTS was negotiated, else all at
   * once, which replaces what was shared before.
   */
  async shareMemory(regions: readonly SharedRegion[]): Promise<void> {
    if ((this.#protocolFeatures & protocolFeatures('CONFIGURE_MEM_SLOTS')) === 0n) {
      const fds = regions.map((region) => region.fd);
      await this.request('SET_MEM_TABLE', regions.map(describeRegion), fds);
      return;
    }
    for (const region of regions) {
      await this.request('ADD_MEM_REG', describeRegion(region), [region.fd]);
    }
  }

  /** Sets a queue up in the order in which QEMU does, and enables it. */
  async startQueue(index: number, setup: QueueSetup): Promise<void> {
    const { size, base = 0, addresses, kick, call, error } = setup;
    await this.request('SET_VRING_NUM', { index, num: size });
    await this.request('SET_VRING_BASE', { index, num: base });
    const logAddress = BigInt(addresses.logAddress);
    await this.request('SET_VRING_ADDR', { ...addresses, index, logAddress });
    if (error) await this.#setEvent('SET_VRING_ERR', index, error);
    await this.#setEvent('SET_VRING_KICK', index, kick);
    await this.#setEvent('SET_VRING_CALL', index, call);
    await this.enableQueue(index, true);
  }

  /** SET_VRING_ENABLE, where the back-end has it; without, SET_FEATURES has enabled every queue. */
  async enableQueue(index: number, enabled: boolean): Promise<void> {
    if ((this.#features & VHOST_USER_F_PROTOCOL_FEATURES) === 0n) return;
    await this.request('SET_VRING_ENABLE', { index, num: enabled ? 1 : 0 });
  }

  /** Disables and stops a queue. Resolves with the next available index, to start it from again. */
  async stopQueue(index: number): Promise<number> {
    await this.enableQueue(index, false);
    return (await this.request('GET_VRING_BASE', { index, num: 0 })).num;
  }

  /**
   * Gives the back-end a channel for requests of its own (BACKEND_REQ), in place of the one before,
   * and answers them. It is closed with the connection.
   */
  async openBackendChannel(handlers: BackendRequestHandlers): Promise<BackendChannelPeer> {
    const [ours, theirs] = socketPair();
    const peer = new BackendChannelPeer(ours, handlers, (range) => this.updateIotlb(range));
    this.#backendChannel?.close();
    this.#backendChannel = peer;
    try {
      await this.request('SET_BACKEND_REQ_FD', undefined, [theirs]);
    } finally {
      closeFd(theirs);
    }
    return peer;
  }

  /** Tells the back-end where I/O virtual addresses lead. */
  async updateIotlb({ address, size, userAddress, access }: IotlbRange): Promise<void> {
    await this.request('IOTLB_MSG', {
      address: BigInt(address),
      size: BigInt(size),
      userAddress: BigInt(userAddress),
      access,
      type: IOTLB_TYPE.UPDATE,
    });
  }

  /** Takes translations back; size 0 is everything from `address` on. Resolves when that is done. */
  async invalidateIotlb(address: number, size: number): Promise<void> {
    const [start, bytes] = [BigInt(address), BigInt(size)];
    const type = IOTLB_TYPE.INVALIDATE;
    await this.request('IOTLB_MSG', {
      address: start,
      size: bytes,
      userAddress: 0n,
      access: 0,
      type,
    });
  }

  /** Closes the connection. Whatever still waits is rejected. Later calls do nothing. */
  close(): void {
    this.#fail(new VhostError('ECONNABORTED', 'the front-end closed the connection'));
  }

  [Symbol.dispose](): void {
    this.close();
  }

  async #setEvent(
    name: 'SET_VRING_KICK' | 'SET_VRING_CALL' | 'SET_VRING_ERR',
    index: number,
    event: { readonly fd: number } | undefined,
  ): Promise<void> {
    await this.request(name, { index, hasFd: event !== undefined }, event ? [event.fd] : []);
  }

  #answerTo(request: number): Promise<Uint8Array> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ request, resolve, reject });
    });
  }

  #receive({ header, payload, fds }: ReceivedMessage): void {
    fds.closeRest();
    const waiting = this.#waiting.shift();
    const isReply = (header.flags & FLAG_REPLY) !== 0;
    if (waiting && isReply && header.request === waiting.request) {
      waiting.resolve(payload);
      return;
    }
    const error = new VhostError('EPROTO', `nobody asked for message ${header.request}`);
    waiting?.reject(error);
    this.#fail(error);
  }

  #fail(error: VhostError): void {
    if (this.#channel.closed) return;
    this.#reading.unsubscribe();
    this.#channel.close();
    this.#backendChannel?.close();
    for (const { reject } of this.#waiting.splice(0)) reject(error);
    this.#closed$.complete();
  }
}

function checkAcknowledgement(name: string, answer: Uint8Array): void {
  const code = U64.decode(answer);
  if (code === 0n) return;
  throw new VhostError(errnoName(Number(code)), `${name}: the back-end refused`);
}

function hungUp(): VhostError {
  return new VhostError('ECONNRESET', 'the back-end closed the connection');
}
