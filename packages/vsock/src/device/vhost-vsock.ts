import {
  COMMON_FEATURES,
  checkFeaturesOffered,
  checkStandingStill,
  FEATURE,
  memoryFeatures,
  offeredRings,
  type QueueMode,
  RequestInterface,
  type RingSwitches,
  VhostDevice,
  type VhostDeviceOptions,
  VhostError,
  VIRTQUEUES,
  type VirtqueueFactory,
  type Vring,
} from '@rxvhost/core';
import { interval, map, type Observable, type Subscription, startWith } from 'rxjs';
import type { PacketEndpoint } from '../carrier/packet-endpoint.js';
import { VSOCK_QUEUES, VsockFeature, VsockQueue } from '../protocol/features.js';
import { HOST_CID } from '../protocol/limits.js';
import type { VsockStatistics } from './device-statistics.js';
import { DriverHistory } from './driver-history.js';
import { EventQueue } from './event-queue.js';
import { ReceiveQueue } from './receive-queue.js';
import { TransmitQueue } from './transmit-queue.js';
import { VsockConfigSpace } from './vsock-config.js';
import type { VsockQueue as QueueHandler, VsockQueueContext } from './vsock-queue.js';
import { VSOCK_REQUESTS } from './vsock-requests.js';
import { readVsockState, writeVsockState } from './vsock-state.js';

const STATISTICS_PERIOD = 1000;

/** How a vsock device is made. */
export interface VhostVsockOptions extends VhostDeviceOptions {
  /** The guest's address, 3 … 2^32 - 2. */
  readonly guestCid: number;
  /** Whose connections these are. */
  readonly endpoint: PacketEndpoint;
  /** Whether sockets that keep message borders are offered; `true` unless set. */
  readonly seqpacket?: boolean;
  /** Ways to use a ring to offer or not, each `true` unless set: packed, in order, reset by itself. */
  readonly rings?: RingSwitches;
  /** Whether the guest may send to an address other than the host's; to none unless set. */
  readonly reaches?: (cid: number) => boolean;
}

/**
 * The host's half of a vsock (seed D9): queue 0 takes packets to the guest, queue 1 brings the
 * guest's, queue 2 tells it of events. What the packets mean is the {@link PacketEndpoint}'s.
 *
 * Connections live as long as the driver: they survive a queue that is stopped and goes on where it
 * was (a paused guest), and end when a driver begins anew (a reboot), when another state of the
 * guest comes (a snapshot, a migration) and when the front-end goes. Where the driver lives on but
 * its connections do not, it is told so by a transport reset (hazard T76).
 */
export class VhostVsock extends VhostDevice {
  readonly type = 'vsock';
  readonly advertisedQueues = VSOCK_QUEUES;
  readonly offeredFeatures: bigint;
  readonly config: VsockConfigSpace;

  /** Counters, at once and every second while subscribed. */
  readonly stats$: Observable<VsockStatistics> = interval(STATISTICS_PERIOD).pipe(
    startWith(0),
    map(() => this.statistics()),
  );

  protected override readonly requests: RequestInterface<VhostVsock>;
  readonly #endpoint: PacketEndpoint;
  readonly #virtqueues: VirtqueueFactory;
  readonly #history = new DriverHistory();
  readonly #receive: ReceiveQueue;
  readonly #transmit: TransmitQueue;
  readonly #event: EventQueue;
  readonly #handlers: readonly QueueHandler[];
  readonly #sendable: Subscription;

  /** Throws `EINVAL` for a CID that no guest may have. */
  constructor(options: VhostVsockOptions) {
    super(VSOCK_QUEUES, options);
    this.config = new VsockConfigSpace(options.guestCid);
    this.offeredFeatures =
      COMMON_FEATURES |
      memoryFeatures(options) |
      offeredRings(options.rings ?? {}) |
      VsockFeature.STREAM |
      VsockFeature.NO_IMPLIED_STREAM |
      (options.seqpacket === false ? 0n : VsockFeature.SEQPACKET);
    this.requests = new RequestInterface<VhostVsock>(this, VSOCK_REQUESTS, options.eventPort);
    this.#endpoint = options.endpoint;
    this.#virtqueues = options.virtqueues ?? VIRTQUEUES;
    const [receive, transmit, event] = this.vrings.map((vring) => ({
      vring,
      work: this.work,
      fail: (error: VhostError) => this.fail(vring.index, error),
    })) as [VsockQueueContext, VsockQueueContext, VsockQueueContext];
    const { config } = this;
    const filter = {
      get guestCid() {
        return config.guestCid;
      },
      reaches: (cid: number) => cid === HOST_CID || options.reaches?.(cid) === true,
    };
    this.#transmit = new TransmitQueue(transmit, this.#endpoint, filter, {
      begins: (base) => this.#driverBegins(base),
      stops: (base) => this.#history.stops(base, this.#othersRun),
    });
    this.#receive = new ReceiveQueue(receive, this.#endpoint, () => this.#transmit.repliesSent());
    this.#event = new EventQueue(event);
    this.#handlers = [this.#receive, this.#transmit, this.#event];
    this.#sendable = this.#endpoint.sendable$.subscribe(() => this.#receive.wanted());
  }

  /** The guest's address. */
  get guestCid(): number {
    return this.config.guestCid;
  }

  /**
   * VSOCK_SET_GUEST_CID: another address for the guest, which it reads when its driver starts or is
   * told of a transport reset. `EINVAL` for one that no guest may have.
   */
  setGuestCid(cid: number): void {
    this.checkOpen();
    this.config.guestCid = cid;
  }

  /**
   * VSOCK_SET_RUNNING: lets the queues run, or stand still. `EPERM` without an owner, `EFAULT` when
   * one that packets need is not in accessible memory; none runs then.
   */
  setRunning(running: boolean): void {
    this.checkOwner();
    const { RECEIVE, TRANSMIT, EVENT } = VsockQueue;
    if (running) for (const index of [RECEIVE, TRANSMIT]) this.vring(index).checkAccess();
    for (const index of [RECEIVE, TRANSMIT, EVENT]) {
      // Programs written for the kernel keep the event queue to themselves.
      const absent = index === EVENT && this.vring(index).size === 0;
      if (!absent) this.setQueueMode(index, running ? 'running' : 'stopped');
    }
  }

  /**
   * Ends every connection with `ECONNRESET` and tells the driver, as soon as it has given a buffer
   * for that: for a VMM that has put the guest into another state, from a snapshot for example.
   */
  resetTransport(): void {
    this.checkOpen();
    this.#endConnections('the transport was reset');
    this.#event.announceReset();
  }

  /**
   * What a vsock elsewhere needs to know of this one's driver: whether there is one, and whether it
   * waits for news. Connections stay here, where their other ends are. Changes nothing. `EPERM` without
   * an owner, `EBUSY` while a queue runs.
   */
  saveState(): Uint8Array {
    this.#mustStandStill();
    return writeVsockState({
      features: this.features & ~FEATURE.LOG_ALL,
      guestCid: this.guestCid,
      driver: this.#history.used,
      resetPending: this.#event.pending,
    });
  }

  /**
   * Goes on from a state that {@link saveState} made, here or elsewhere: its driver is told by a
   * transport reset that its connections are gone, and then reads this device's CID, which need not be
   * the one that it had (virtio 1.2, 5.10.6.7). `EINVAL` for what is no such state, and for that of a
   * driver with features that are not offered here; `EPERM` and `EBUSY` as there. Then nothing has
   * changed.
   */
  loadState(bytes: Uint8Array): void {
    this.#mustStandStill();
    const { features, guestCid, driver, resetPending } = readVsockState(bytes);
    checkFeaturesOffered(features, this.offeredFeatures);
    this.#history.forget();
    this.#event.forget();
    this.#endConnections('another guest has come');
    if (!driver && !resetPending && guestCid === this.guestCid) return;
    this.#history.moved();
    this.#event.announceReset();
  }

  #mustStandStill(): void {
    this.checkOwner();
    checkStandingStill(this.vrings);
  }

  override setFeatures(features: bigint): void {
    super.setFeatures(features);
    this.#endpoint.setFeatures(features);
  }

  /** The counters as they are now. */
  statistics(): VsockStatistics {
    const [receive, transmit, event] = this.vrings.map(({ counters }) => counters) as [
      Vring['counters'],
      Vring['counters'],
      Vring['counters'],
    ];
    const { counters } = this.#transmit;
    return {
      receive: { ...this.#receive.counters, ...receive },
      transmit: { ...counters, drops: { ...counters.drops }, ...transmit },
      event: { transportResets: this.#event.transportResets, ...event },
    };
  }

  protected override kicked(index: number): void {
    this.#handler(index).kicked();
  }

  protected override featuresChanged(): void {
    for (const [index, handler] of this.#handlers.entries()) {
      if (handler.running) this.#start(index, handler);
    }
  }

  override queueSettled(): undefined {
    return undefined;
  }

  protected override setQueueMode(index: number, mode: QueueMode): void {
    const handler = this.#handler(index);
    switch (mode) {
      case 'stopped':
      // Nothing may be lost of a stream, so what the guest sends to a disabled ring waits there.
      case 'discarding':
        handler.stop();
        (this.vrings[index] as Vring).detach();
        if (index !== VsockQueue.TRANSMIT) this.#history.othersStop();
        break;
      case 'running':
        if (handler.running) handler.kicked();
        else this.#start(index, handler);
        break;
    }
    this.showRunning(this.#handlers.some(({ running }) => running));
  }

  #start(index: number, handler: QueueHandler): void {
    const vring = this.vrings[index] as Vring;
    vring.checkAccess();
    handler.stop();
    vring.attach();
    handler.start();
  }

  /** The front-end has gone, and its guest with it as far as we can know. */
  protected override forgetBackends(): void {
    this.#endConnections('the guest has gone');
    this.#event.forget();
    this.#history.forget();
    this.#endpoint.setFeatures(0n);
  }

  protected override closeBackends(): void {
    this.#sendable.unsubscribe();
  }

  #driverBegins(base: number): void {
    const initial = this.#virtqueues.initialBase(
      (this.vrings[VsockQueue.TRANSMIT] as Vring).features,
    );
    switch (this.#history.begins(base, initial)) {
      case 'goes on':
        return;
      case 'new':
        this.#endConnections('the guest’s driver has begun anew');
        this.#event.forget();
        return;
      case 'restored':
        this.#endConnections('the guest was restored');
        this.#event.announceReset();
        return;
    }
  }

  /** Queues beside the transmit queue, which alone may be reset while they run (RING_RESET). */
  get #othersRun(): boolean {
    const negotiated = (this.features & FEATURE.RING_RESET) !== 0n;
    return negotiated && (this.#receive.running || this.#event.running);
  }

  #endConnections(why: string): void {
    this.#endpoint.reset(new VhostError('ECONNRESET', why));
  }

  #handler(index: number): QueueHandler {
    return this.#handlers[index] as QueueHandler;
  }
}
