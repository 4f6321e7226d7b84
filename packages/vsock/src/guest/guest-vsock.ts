import { EventLoopTurns, type TurnScheduler, VhostError } from '@rxvhost/core';
import type { GuestMemoryArena } from '@rxvhost/guest';
import { type Observable, Subject, Subscription } from 'rxjs';
import type { EndpointOptions } from '../connection/endpoint-options.js';
import { VsockEndpoint } from '../connection/vsock-endpoint.js';
import { Vsock } from '../stream/vsock.js';
import { EventSide } from './event-side.js';
import { type GuestVsockCounters, newGuestVsockCounters } from './guest-counters.js';
import { type GuestDevice, readGuestCid } from './guest-device.js';
import type { GuestSide, SideContext } from './guest-side.js';
import { DEFAULT_RECEIVE_PAYLOAD, ReceiveSide } from './receive-side.js';
import { DEFAULT_TRANSMIT_BUFFERS, TransmitSide } from './transmit-side.js';

/** How {@link GuestVsock.probe} sets a driver up. */
export interface GuestVsockOptions extends Omit<EndpointOptions, 'cid' | 'peerCid'> {
  /** Bytes of payload in each receive buffer; 4096 by default (seed D2). */
  readonly receivePayload?: number;
  /** Packets of up to 64 KiB that the device may have at a time; 64 by default, never more than the ring holds. */
  readonly transmitBuffers?: number;
  readonly turns?: TurnScheduler;
}

/** The guests that have a device: by their memory, for that is what makes one guest (seed D1). */
const drivers = new WeakMap<GuestMemoryArena, GuestVsock>();

/**
 * The guest's half of a vsock (seeds D1 to D7): a driver over the device's three queues, and an
 * endpoint with {@link sockets} above it. It reaches the device through guest memory and events
 * only, so the device may be an object in this process or a vhost-user back-end in another.
 */
export class GuestVsock {
  readonly endpoint: VsockEndpoint;
  readonly sockets: Vsock;
  readonly counters: GuestVsockCounters = newGuestVsockCounters();
  readonly #device: GuestDevice;
  readonly #arena: GuestMemoryArena;
  readonly #sides: readonly GuestSide[];
  readonly #subscriptions = new Subscription();
  readonly #faults = new Subject<VhostError>();
  #removing: Promise<void> | undefined;

  /** Emits what the device did wrong; the driver then stands still. */
  readonly errors$: Observable<VhostError> = this.#faults.asObservable();

  private constructor(
    arena: GuestMemoryArena,
    device: GuestDevice,
    cid: number,
    options: GuestVsockOptions,
  ) {
    this.#arena = arena;
    this.#device = device;
    this.endpoint = new VsockEndpoint({ ...options, cid });
    this.endpoint.setFeatures(device.features);
    this.sockets = new Vsock(this.endpoint);
    const context: SideContext = {
      arena,
      turns: options.turns ?? new EventLoopTurns(),
      counters: this.counters,
      fail: (fault) => this.#fail(fault),
    };
    const payload = options.receivePayload ?? DEFAULT_RECEIVE_PAYLOAD;
    const buffers = options.transmitBuffers ?? DEFAULT_TRANSMIT_BUFFERS;
    const { endpoint } = this;
    const receive = new ReceiveSide(context, device.receive, endpoint, payload);
    const transmit = new TransmitSide(context, device.transmit, endpoint, buffers, () =>
      receive.repliesSent(),
    );
    const event = new EventSide(context, device.event, () => this.#transportReset());
    this.#sides = [receive, transmit, event];
    this.#subscriptions.add(endpoint.sendable$.subscribe(() => transmit.wanted()));
  }

  /**
   * Finds out the guest's address, fills the queues and starts. Rejects with `EBUSY` when the guest
   * has a vsock device already, `ENOMEM` when the buffers do not fit its memory.
   */
  static async probe(
    arena: GuestMemoryArena,
    device: GuestDevice,
    options: GuestVsockOptions = {},
  ): Promise<GuestVsock> {
    const cid = await readGuestCid(device);
    if (drivers.has(arena)) throw new VhostError('EBUSY', 'this guest has a vsock device already');
    const driver = new GuestVsock(arena, device, cid, options);
    drivers.set(arena, driver);
    for (const side of driver.#sides) side.start();
    return driver;
  }

  /**
   * Takes the device away (seed D7): its connections end with `ECONNRESET`, connecting fails with
   * `ENODEV` from here on, the device is reset, every buffer is freed. Nothing runs afterwards. Rejects
   * with what the reset failed with; all is freed then too.
   */
  remove(): Promise<void> {
    this.#removing ??= this.#remove();
    return this.#removing;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.remove();
  }

  async #remove(): Promise<void> {
    this.#stop();
    this.endpoint.detach(new VhostError('ECONNRESET', 'the vsock device was removed'));
    try {
      await this.#device.reset();
    } finally {
      // A back-end that died before it could answer touches nothing any more either.
      for (const side of this.#sides) side.release();
      this.#faults.complete();
      drivers.delete(this.#arena);
    }
  }

  #stop(): void {
    for (const side of this.#sides) side.stop();
    this.#subscriptions.unsubscribe();
  }

  #fail(fault: VhostError): void {
    this.#stop();
    this.endpoint.detach(new VhostError('ECONNRESET', 'the vsock device has failed'));
    this.#faults.next(fault);
  }

  /** The guest may have another address now; listeners stay (seed D6). */
  #transportReset(): void {
    const reason = new VhostError('ECONNRESET', 'the transport was reset');
    readGuestCid(this.#device).then(
      (cid) => {
        this.endpoint.setCid(cid);
        this.endpoint.reset(reason);
      },
      () => this.endpoint.reset(reason),
    );
  }
}
