import { IOTLB_TYPE, type IotlbRange } from '@rxvhost/core';
import { closeFd, connectUnix, socketPair } from '@rxvhost/sys';
import { protocolFeatures, VHOST_USER_F_PROTOCOL_FEATURES } from '../protocol/features.js';
import { BackendChannelPeer, type BackendRequestHandlers } from './backend-channel-peer.js';
import { loadState, saveState } from './device-state.js';
import {
  type Agreement,
  describeRegion,
  type HandshakeOptions,
  type QueueEvent,
  type QueueSetup,
  type SharedRegion,
  unusedBase,
} from './frontend-requests.js';
import { RequestConnection } from './request-connection.js';

const KNOWN_PROTOCOL_FEATURES = protocolFeatures(
  'MQ',
  'LOG_SHMFD',
  'RARP',
  'REPLY_ACK',
  'BACKEND_REQ',
  'MTU',
  'CONFIG',
  'INFLIGHT_SHMFD',
  'RESET_DEVICE',
  'CONFIGURE_MEM_SLOTS',
  'STATUS',
  'DEVICE_STATE',
);

/** The front-end's half of a vhost-user connection: what a VMM does. */
export class VhostUserFrontend extends RequestConnection {
  #backendChannel: BackendChannelPeer | undefined;
  #features = 0n;

  /** Connects to a back-end that listens at `path`. Throws `ENOENT`, `ECONNREFUSED`, `EACCES`. */
  static connect(path: string): VhostUserFrontend {
    return new VhostUserFrontend(connectUnix(path));
  }

  /** Virtio features that were set with {@link handshake}. */
  get features(): bigint {
    return this.#features;
  }

  /** What a VMM does on connection: features, protocol features, ownership. */
  async handshake(options: HandshakeOptions): Promise<Agreement> {
    const offeredFeatures = await this.request('GET_FEATURES', undefined);
    const speaksProtocolFeatures = (offeredFeatures & VHOST_USER_F_PROTOCOL_FEATURES) !== 0n;
    if (speaksProtocolFeatures) {
      const offered = await this.request('GET_PROTOCOL_FEATURES', undefined);
      const accepted = offered & (options.protocolFeatures ?? KNOWN_PROTOCOL_FEATURES);
      await this.request('SET_PROTOCOL_FEATURES', accepted);
      this.acceptedProtocolFeatures = accepted;
    }
    const multiqueue = (this.acceptedProtocolFeatures & protocolFeatures('MQ')) !== 0n;
    const queues = multiqueue ? await this.request('GET_QUEUE_NUM', undefined) : undefined;
    await this.request('SET_OWNER', undefined);
    const features = options.features & offeredFeatures & ~VHOST_USER_F_PROTOCOL_FEATURES;
    const bit30 = speaksProtocolFeatures ? VHOST_USER_F_PROTOCOL_FEATURES : 0n;
    await this.request('SET_FEATURES', features | bit30);
    this.#features = features | bit30;
    return { offeredFeatures, features, protocolFeatures: this.acceptedProtocolFeatures, queues };
  }

  /**
   * Shares guest memory: region by region where CONFIGURE_MEM_SLOTS was negotiated, else all at
   * once, which replaces what was shared before.
   */
  async shareMemory(regions: readonly SharedRegion[]): Promise<void> {
    if ((this.acceptedProtocolFeatures & protocolFeatures('CONFIGURE_MEM_SLOTS')) === 0n) {
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
    const { addresses, kick, call, error } = setup;
    const base = setup.base ?? unusedBase(this.#features);
    await this.request('SET_VRING_NUM', { index, num: setup.size });
    await this.request('SET_VRING_BASE', { index, num: base });
    const logAddress = BigInt(addresses.logAddress);
    await this.request('SET_VRING_ADDR', { ...addresses, index, logAddress });
    if (error) await this.#setEvent('SET_VRING_ERR', index, error);
    await this.#setEvent('SET_VRING_KICK', index, kick);
    await this.#setEvent('SET_VRING_CALL', index, call);
    await this.enableQueue(index, true);
  }

  /**
   * Kicks a queue by a message (INBAND_NOTIFICATIONS), the first time also to start it. Resolves
   * when the back-end has looked.
   */
  async kickQueue(index: number): Promise<void> {
    await this.request('VRING_KICK', { index, num: 0 });
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
    this.closed$.subscribe({ complete: () => peer.close() });
    try {
      await this.request('SET_BACKEND_REQ_FD', undefined, [theirs]);
    } finally {
      closeFd(theirs);
    }
    return peer;
  }

  /**
   * The state of the back-end's device (DEVICE_STATE), with every queue stopped: what another
   * back-end's device needs to go on with this guest. Rejects with the back-end's errno.
   */
  saveState(): Promise<Uint8Array> {
    return saveState(this);
  }

  /** Has the back-end's device go on from a state that {@link saveState} gave. Rejects likewise. */
  loadState(state: Uint8Array): Promise<void> {
    return loadState(this, state);
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

  async #setEvent(
    name: 'SET_VRING_KICK' | 'SET_VRING_CALL' | 'SET_VRING_ERR',
    index: number,
    event: QueueEvent | undefined,
  ): Promise<void> {
    if (event === 'in-band') return;
    await this.request(name, { index, hasFd: event !== undefined }, event ? [event.fd] : []);
  }
}
