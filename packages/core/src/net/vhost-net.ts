import { interval, map, type Observable, startWith } from 'rxjs';
import { NullSocket } from '../backend/null-socket.js';
import type { PacketSocket } from '../backend/packet-socket.js';
import { RequestInterface } from '../device/request/request-interface.js';
import type { QueueMode } from '../device/virtio-device.js';
import type { Vring } from '../device/vring.js';
import { orGiveBack } from '../errors/or-give-back.js';
import { VhostError } from '../errors/vhost-error.js';
import { EventLoopTurns } from '../events/turn-scheduler.js';
import type { MemoryMapping } from '../memory/mapping.js';
import { reverseArpFrame, sendOwnFrame } from './announcement.js';
import { ConfiguredNic } from './configured-nic.js';
import { NicControl } from './control/nic-control.js';
import { NetBackends, tellBackend } from './net-backends.js';
import { NetConfigSpace } from './net-config.js';
import { NET_FEATURE } from './net-features.js';
import { netHeaderLength } from './net-header.js';
import type { NetQueue, QueueAttachment } from './net-queue.js';
import { NetQueues } from './net-queues.js';
import { NET_REQUESTS } from './net-requests.js';
import type { NetStatistics, QueueDirection } from './net-statistics.js';
import { withLayer } from './offload/offload-layers.js';
import { MAX_QUEUE_PAIRS, offeredNetFeatures, type VhostNetOptions } from './vhost-net-options.js';

const STATISTICS_PERIOD = 1000;
const DISCARD = new NullSocket();

/**
 * A network card for a virtual machine (seeds A and C): queue 0 gives frames to the guest, queue 1
 * takes them (C1), and so on for further pairs.
 */
export class VhostNet extends ConfiguredNic {
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
  readonly #backends: NetBackends;
  readonly #queues: NetQueues;
  protected override readonly control: NicControl;
  #endAnnouncement: (() => void) | undefined;
  /** Queues that have stopped, but still wait for their backend. */
  readonly #settling = new Map<number, Promise<void>>();

  /** Throws `EINVAL` for more than {@link MAX_QUEUE_PAIRS} backends and for options out of range. */
  constructor(options: VhostNetOptions = {}) {
    const backends = [options.backends ?? []].flat();
    const pairs = Math.max(1, backends.length);
    if (pairs > MAX_QUEUE_PAIRS) {
      throw new VhostError('EINVAL', `${pairs} queue pairs, a NIC has at most ${MAX_QUEUE_PAIRS}`);
    }
    super(2 * pairs + (options.controlQueue === true ? 1 : 0), options);
    this.requests = new RequestInterface<VhostNet>(this, NET_REQUESTS, options.eventPort);
    this.#backends = new NetBackends(backends, options.providers);
    this.advertisedQueues = pairs;
    this.config = new NetConfigSpace(options.mac, pairs, options.mtu, options.controlQueue);
    this.offeredFeatures = offeredNetFeatures(options, backends);
    const contexts = this.vrings.map((vring) => ({
      vring,
      memory: this.memory,
      work: this.work,
      zeroCopy: options.zeroCopy ?? true,
      drainMilliseconds: options.drainTimeout ?? 3000,
      fail: (error: VhostError) => this.fail(vring.index, error),
    }));
    this.control = new NicControl(pairs, this.config, options.turns ?? new EventLoopTurns(), () =>
      this.#attachAnew('receive'),
    );
    this.#queues = new NetQueues(this.control, contexts);
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
    const queue = this.#queues.at(index);
    const old = this.#backends.opened(index);
    if (backend === undefined || backend === -1) {
      this.#stop(vring, queue);
    } else if (backend !== queue.attachment?.backend) {
      vring.checkAccess();
      const socket = typeof backend === 'number' ? this.#backends.open(backend) : backend;
      try {
        this.#attach(vring, queue, socket, false);
      } catch (error) {
        if (typeof backend === 'number') socket.close();
        throw error;
      }
      if (typeof backend === 'number') this.#backends.setOpened(index, socket);
    } else {
      return;
    }
    if (old !== undefined && this.#backends.opened(index) === old) {
      this.#backends.setOpened(index, undefined);
    }
    await queue.settled();
    await this.work.flush();
    old?.close();
  }

  /**
   * SEND_RARP, T61: asks a driver that knows how (GUEST_ANNOUNCE) to tell the network where it is;
   * for another one sends one frame out of the first pair's backend, which waits where that is full.
   */
  announce(mac: Uint8Array, memory: MemoryMapping): void {
    this.#endAnnouncement?.();
    orGiveBack(
      () => memory.release(),
      () => {
        this.checkOwner();
        if (this.control.announce()) memory.release();
        else this.#endAnnouncement = this.#sendReverseArp(mac, memory);
      },
    );
  }

  #sendReverseArp(mac: Uint8Array, memory: MemoryMapping): () => void {
    return sendOwnFrame(this.#backends.of(1), reverseArpFrame(mac), memory);
  }

  /** The counters as they are now. */
  statistics(): NetStatistics {
    return {
      queues: this.#queues.all.map(({ counters }) => ({
        ...counters,
        drops: { ...counters.drops },
        ...(this.vrings[counters.queue] as Vring).counters,
      })),
    };
  }

  protected override kicked(index: number): void {
    this.#queues.find(index)?.kicked();
  }

  protected override featuresChanged(): void {
    this.control.reset(this.features);
    for (const queue of this.#queues.misplaced) this.#stop(this.#vringOf(queue), queue);
    this.#attachAnew();
  }

  /** Attaches running queues once more: what they work with has changed. */
  #attachAnew(direction?: QueueDirection): void {
    for (const queue of this.#queues.all) {
      const { attachment, counters } = queue;
      if (attachment === undefined || (direction ?? counters.direction) !== counters.direction) {
        continue;
      }
      this.#attach(this.#vringOf(queue), queue, attachment.backend, attachment.discarding);
      if (counters.direction === 'control') this.control.start();
    }
  }

  #vringOf({ counters }: NetQueue): Vring {
    return this.vrings[counters.queue] as Vring;
  }

  override queueSettled(index: number): Promise<void> | undefined {
    return this.#settling.get(index);
  }

  protected override setQueueMode(index: number, mode: QueueMode): void {
    const vring = this.vrings[index] as Vring;
    const queue = this.#queues.find(index);
    if (mode === 'stopped') {
      if (queue !== undefined) this.#stop(vring, queue);
      return;
    }
    const handler = this.#queues.at(index);
    if (handler.counters.direction === 'control') this.#runControl(vring, handler);
    else if (mode === 'discarding') this.#run(vring, handler, DISCARD, true);
    else this.#run(vring, handler, this.#backends.of(index), false);
  }

  /** Attaches, or looks at the ring once when the queue runs like that already (T03). */
  #run(vring: Vring, queue: NetQueue, socket: PacketSocket, discarding: boolean): void {
    if (queue.attachment?.backend === socket) queue.kicked();
    else this.#attach(vring, queue, socket, discarding);
  }

  /** From here on the receive queues do what is said on the control queue. */
  #runControl(vring: Vring, queue: NetQueue): void {
    this.#run(vring, queue, DISCARD, false);
    this.control.start();
  }

  protected override forgetBackends(): void {
    this.#endAnnouncement?.();
    this.#backends.forget();
    this.control.reset(0n);
    this.config.reset();
  }

  protected override closeBackends(): void {
    this.forgetBackends();
    this.#backends.close();
  }

  #attach(vring: Vring, queue: NetQueue, backend: PacketSocket, discarding: boolean): void {
    const headerLength = netHeaderLength(this.features);
    const ownHeader =
      backend.headerLength === 0 || (this.features & NET_FEATURE.VHOST_NET_HEADER) !== 0n;
    const mergeable = (this.features & NET_FEATURE.MRG_RXBUF) !== 0n;
    vring.checkAccess();
    if (!ownHeader) backend.setHeaderLength?.(headerLength);
    const pair = vring.index >> 1;
    const unused = queue.counters.direction === 'receive' && !this.control.uses(pair);
    const before = queue.attachment;
    vring.attach();
    queue.start(
      withLayer({
        backend,
        headerLength,
        discarding,
        mergeable,
        ownHeader,
        unused,
        features: this.control.usedFeatures,
        mtu: this.config.mtu,
        filter: this.control.filter,
        counters: queue.counters,
        steer: (inner, innerHeader) =>
          this.control.steer(pair, inner, innerHeader, queue.counters.drops),
      }),
    );
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

  #tellBackend(socket: PacketSocket): void {
    const users = this.#queues.pairs.filter(({ attachment }) => attachment?.backend === socket);
    tellBackend(socket, users, this.control.usedFeatures);
  }

  #showState(): void {
    this.showRunning(this.#queues.all.some(({ attachment }) => attachment !== undefined));
  }
}
