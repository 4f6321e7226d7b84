import { interval, map, type Observable, startWith } from 'rxjs';
import type { BackendChain } from '../backend/backend-provider.js';
import { NullSocket } from '../backend/null-socket.js';
import type { PacketSocket } from '../backend/packet-socket.js';
import { COMMON_FEATURES, MEMORY_FEATURES } from '../device/features.js';
import { RequestInterface } from '../device/request/request-interface.js';
import { VhostDevice } from '../device/vhost-device.js';
import type { VhostDeviceOptions } from '../device/vhost-device-options.js';
import type { QueueMode } from '../device/virtio-device.js';
import type { Vring } from '../device/vring.js';
import { orGiveBack } from '../errors/or-give-back.js';
import { VhostError } from '../errors/vhost-error.js';
import type { MemoryMapping } from '../memory/mapping.js';
import { reverseArpFrame, sendOwnFrame } from './announcement.js';
import { NetConfigSpace } from './net-config.js';
import { NET_FEATURE } from './net-features.js';
import { netHeaderLength } from './net-header.js';
import type { NetQueue, QueueAttachment } from './net-queue.js';
import { NET_REQUESTS } from './net-requests.js';
import type { NetStatistics } from './net-statistics.js';
import {
  effectiveOffloads,
  type OffloadSwitches,
  offeredOffloads,
} from './offload/offload-features.js';
import { withLayer } from './offload/offload-layers.js';
import { ReceiveQueue } from './receive-queue.js';
import { TransmitQueue } from './transmit-queue.js';

const STATISTICS_PERIOD = 1000;
const DISCARD = new NullSocket();
/** The most queue pairs of one NIC. */
export const MAX_QUEUE_PAIRS = 16;

/** How a NIC is made. */
export interface VhostNetOptions extends VhostDeviceOptions {
  /** What queue pair `k` is attached to when a transport runs it; one entry for each pair, 1 … 16. */
  readonly backends?: PacketSocket | readonly PacketSocket[];
  /** Asked by {@link VhostNet.setBackend} when it is given an fd. */
  readonly providers?: BackendChain;
  /** 6 bytes, not multicast. Left out: the front-end or the guest chooses. */
  readonly mac?: Uint8Array;
  /** Largest packet without its Ethernet header, 68 … 65535. Left out: the guest's default. */
  readonly mtu?: number;
  /** Checksum and segmentation offloads to offer or not; see {@link OffloadSwitches}. */
  readonly offloads?: OffloadSwitches;
  /** Send long frames by reference on backends that can (seed C11); `true` unless set. */
  readonly zeroCopy?: boolean;
  /**
   * Milliseconds to wait, when a queue stops, for frames that a backend has not completed; then they
   * are given up with a fault. 3000 unless set.
   */
  readonly drainTimeout?: number;
}

/**
 * A network card for a virtual machine (seeds A and C): queue 0 gives frames to the guest, queue 1
 * takes them (C1), and so on for further pairs.
 */
export class VhostNet extends VhostDevice {
  readonly type = 'net';
  readonly advertisedQueues: number;
  readonly offeredFeatures: bigint;
  readonly config: NetConfigSpace;

  /** Counters, at once and every second while subscribed. */
  readonly stats$: Observable<NetStatistics> = interval(STATISTICS_PERIOD).pipe(
    startWith(0),
    map(() => this.statistics()),
  );

  protected override readonly requests: RequestInterface<VhostNet>;
  readonly #backends: readonly PacketSocket[];
  readonly #providers: BackendChain | undefined;
  readonly #queues: readonly NetQueue[];
  #endAnnouncement: (() => void) | undefined;
  /** Backends made from an fd, by queue: ours to close when they are replaced. */
  readonly #opened = new Map<number, PacketSocket>();
  /** Queues that have stopped, but still wait for their backend. */
  readonly #settling = new Map<number, Promise<void>>();

  /** Throws `EINVAL` for more than {@link MAX_QUEUE_PAIRS} backends and for options out of range. */
  constructor(options: VhostNetOptions = {}) {
    const backends = [options.backends ?? []].flat();
    const pairs = Math.max(1, backends.length);
    if (pairs > MAX_QUEUE_PAIRS) {
      throw new VhostError('EINVAL', `${pairs} queue pairs, a NIC has at most ${MAX_QUEUE_PAIRS}`);
    }
    super(2 * pairs, options);
    this.requests = new RequestInterface<VhostNet>(this, NET_REQUESTS, options.eventPort);
    this.#backends = backends;
    this.#providers = options.providers;
    this.advertisedQueues = pairs;
    this.config = new NetConfigSpace(options.mac, pairs, options.mtu);
    this.offeredFeatures =
      COMMON_FEATURES |
      MEMORY_FEATURES |
      NET_FEATURE.MRG_RXBUF |
      NET_FEATURE.VHOST_NET_HEADER |
      offeredOffloads(options.offloads ?? {}, backends) |
      (pairs > 1 ? NET_FEATURE.MQ | NET_FEATURE.CTRL_VQ : 0n) |
      (options.mac === undefined ? 0n : NET_FEATURE.MAC) |
      (options.mtu === undefined ? 0n : NET_FEATURE.MTU);
    this.#queues = this.vrings.map((vring) => {
      const context = {
        vring,
        memory: this.memory,
        work: this.work,
        zeroCopy: options.zeroCopy ?? true,
        drainMilliseconds: options.drainTimeout ?? 3000,
        fail: (error: VhostError) => this.fail(vring.index, error),
      };
      return vring.index % 2 === 0 ? new ReceiveQueue(context) : new TransmitQueue(context);
    });
    for (const backend of backends) backend.setSteering?.(false);
  }

  /**
   * Attaches a queue to a backend (seeds C9, C10): a socket, or an fd that the provider chain is
   * asked about; `undefined` or −1 detaches. The same socket again changes nothing. On failure the
   * old backend stays.
   *
   * Throws `EPERM` without an owner, `ENOBUFS` where there is no such queue, `EFAULT` when the ring
   * is not in accessible memory, `ENOTSOCK` when no provider takes the fd. Resolves when the old
   * backend's work has run and it is closed.
   */
  async setBackend(index: number, backend: PacketSocket | number | undefined): Promise<void> {
    const vring = this.vring(index);
    const queue = this.#queue(index);
    const old = this.#opened.get(index);
    if (backend === undefined || backend === -1) {
      this.#stop(vring, queue);
    } else if (backend !== queue.attachment?.backend) {
      vring.checkAccess();
      const socket = typeof backend === 'number' ? this.#openBackend(backend) : backend;
      try {
        this.#attach(vring, queue, socket, false);
      } catch (error) {
        if (typeof backend === 'number') socket.close();
        throw error;
      }
      if (typeof backend === 'number') this.#opened.set(index, socket);
    } else {
      return;
    }
    if (old !== undefined && this.#opened.get(index) === old) this.#opened.delete(index);
    await queue.settled();
    await this.work.flush();
    old?.close();
  }

  /** NET_SET_MTU: `EINVAL` for an MTU out of range or over the one that this NIC was made with. */
  setMtu(mtu: number): void {
    this.config.checkFrontEndMtu(mtu);
  }

  /** SEND_RARP: one frame out of the first pair's backend, which waits where that is full (T61). */
  announce(mac: Uint8Array, memory: MemoryMapping): void {
    this.#endAnnouncement?.();
    orGiveBack(
      () => memory.release(),
      () => {
        this.checkOwner();
        this.#endAnnouncement = sendOwnFrame(this.#backendOf(1), reverseArpFrame(mac), memory);
      },
    );
  }

  /** The counters as they are now. */
  statistics(): NetStatistics {
    return {
      queues: this.#queues.map(({ counters }, index) => ({
        ...counters,
        drops: { ...counters.drops },
        ...(this.vrings[index] as Vring).counters,
      })),
    };
  }

  protected override kicked(index: number): void {
    this.#queue(index).kicked();
  }

  protected override featuresChanged(): void {
    for (const [index, queue] of this.#queues.entries()) {
      const { attachment } = queue;
      if (attachment === undefined) continue;
      const vring = this.vrings[index] as Vring;
      this.#attach(vring, queue, attachment.backend, attachment.discarding);
    }
  }

  override queueSettled(index: number): Promise<void> | undefined {
    return this.#settling.get(index);
  }

  protected override setQueueMode(index: number, mode: QueueMode): void {
    const vring = this.vrings[index] as Vring;
    const queue = this.#queue(index);
    switch (mode) {
      case 'stopped':
        this.#stop(vring, queue);
        return;
      case 'discarding':
        this.#run(vring, queue, DISCARD, true);
        return;
      case 'running':
        this.#run(vring, queue, this.#backendOf(index), false);
        return;
    }
  }

  /** Attaches, or looks at the ring once when the queue runs like that already (T03). */
  #run(vring: Vring, queue: NetQueue, socket: PacketSocket, discarding: boolean): void {
    if (queue.attachment?.backend === socket) queue.kicked();
    else this.#attach(vring, queue, socket, discarding);
  }

  protected override forgetBackends(): void {
    this.#endAnnouncement?.();
    for (const socket of this.#opened.values()) socket.close();
    this.#opened.clear();
  }

  protected override closeBackends(): void {
    this.forgetBackends();
    for (const backend of this.#backends) backend.close();
  }

  #attach(vring: Vring, queue: NetQueue, backend: PacketSocket, discarding: boolean): void {
    const headerLength = netHeaderLength(this.features);
    const ownHeader =
      backend.headerLength === 0 || (this.features & NET_FEATURE.VHOST_NET_HEADER) !== 0n;
    const mergeable = (this.features & NET_FEATURE.MRG_RXBUF) !== 0n;
    vring.checkAccess();
    if (!ownHeader) backend.setHeaderLength?.(headerLength);
    const facts = { backend, headerLength, discarding, mergeable, ownHeader };
    const { features, config } = this;
    const before = queue.attachment;
    vring.attach(this.ringFeatures);
    queue.start(withLayer({ ...facts, features, mtu: config.mtu, counters: queue.counters }));
    this.#leaveBackend(before, backend);
    this.#tellBackend(backend);
    this.#showState();
  }

  #leaveBackend(before: QueueAttachment | undefined, now: PacketSocket | undefined): void {
    before?.layer?.release();
    if (before !== undefined && before.backend !== now) this.#tellBackend(before.backend);
  }

  /** The vring stays attached until what is outstanding has been published (C13). */
  #stop(vring: Vring, queue: NetQueue): void {
    const before = queue.attachment;
    queue.stop();
    const settled = queue.settled();
    if (settled === undefined) {
      vring.detach();
    } else if (!this.#settling.has(vring.index)) {
      this.#settling.set(
        vring.index,
        settled.then(() => {
          this.#settling.delete(vring.index);
          if (queue.attachment === undefined) vring.detach();
        }),
      );
    }
    this.#leaveBackend(before, undefined);
    this.#showState();
  }

  /** Tells a backend what the driver has accepted, and whether frames may come its way (T54, T58). */
  #tellBackend(socket: PacketSocket): void {
    const users = this.#queues.filter(({ attachment }) => attachment?.backend === socket);
    const { offloads } = socket;
    if (offloads !== undefined) {
      const accepted = users.length === 0 ? 0n : effectiveOffloads(this.features);
      offloads.accept(accepted & offloads.supported);
    }
    socket.setSteering?.(users.some(({ counters }) => counters.direction === 'receive'));
  }

  #showState(): void {
    this.showRunning(this.#queues.some(({ attachment }) => attachment !== undefined));
  }

  #openBackend(fd: number): PacketSocket {
    if (this.#providers === undefined) {
      throw new VhostError('ENOTSOCK', `no backend provider to ask about fd ${fd}`);
    }
    return this.#providers.open(fd);
  }

  #backendOf(index: number): PacketSocket {
    const backend = this.#opened.get(index) ?? this.#backends[index >> 1];
    if (backend === undefined) {
      throw new VhostError('ENOTSOCK', `queue ${index} has no backend`);
    }
    return backend;
  }

  #queue(index: number): NetQueue {
    const queue = this.#queues[index];
    if (queue === undefined) throw new VhostError('ENOBUFS', `there is no queue ${index}`);
    return queue;
  }
}
