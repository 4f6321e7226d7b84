import {
  type EventPort,
  FEATURE,
  type QueueMode,
  VhostError,
  type VirtioDevice,
} from '@rxvhost/core';
import type { VringAddress } from '../protocol/payloads.js';
import { InbandKick, InbandReport, type InbandReports } from './inband-ports.js';

/** What the front-end has told us about one ring. */
interface Vring {
  sized: boolean;
  addressed: boolean;
  /** A kick is set, or polling stands in for it: the ring is *started* in the protocol's sense. */
  started: boolean;
  enabled: boolean;
  /** It ran since its kick was set, so a disabled ring now discards rather than waits. */
  hasRun: boolean;
  /** What the device was told last. */
  mode: QueueMode;
  /** Kicks come as messages. */
  inbandKick: InbandKick | undefined;
}

/** Which events of a ring the front-end has said something about. */
interface ToldEvents {
  call: boolean;
  error: boolean;
}

/**
 * The rings of one connection, and when each may run.
 *
 * In the protocol a ring is *started* (by its kick) and *enabled*, independently. Front-ends send
 * the pieces in many orders, so nothing here depends on one: after every change {@link settle} asks
 * whether all that is needed is there and tells the device what the ring may do.
 *
 * | started | enabled | the device is told |
 * |---|---|---|
 * | no | any | `stopped` |
 * | yes | not since its kick was set | `stopped`: kicks wait and are served once enabled (T03) |
 * | yes | no longer | `discarding` |
 * | yes | yes | `running`, as soon as size, addresses and memory are there too |
 *
 * Every method with an index throws `ENOBUFS` for a ring that there is not (seed A6, hazard T07).
 */
export class Vrings {
  readonly #rings: readonly Vring[];
  readonly #told: readonly ToldEvents[];

  /** @param hasMemory - whether the front-end has shared any memory yet */
  constructor(
    readonly device: VirtioDevice,
    readonly hasMemory: () => boolean,
  ) {
    this.#rings = Array.from({ length: device.queueCount }, newVring);
    this.#told = this.#rings.map(() => ({ call: false, error: false }));
  }

  /** `EBUSY` while any ring runs, or has something outstanding. */
  mustAllBeStopped(what: string): void {
    const running = this.#rings.findIndex(
      ({ mode }, index) => mode !== 'stopped' || this.device.queueSettled(index) !== undefined,
    );
    if (running >= 0) throw new VhostError('EBUSY', `ring ${running} runs: ${what} cannot be set`);
  }

  /** Resolves when nothing of a ring is outstanding any more; undefined when that is so already. */
  settled(): Promise<unknown> | undefined {
    const waits = this.#rings.map((_, index) => this.device.queueSettled(index)).filter(Boolean);
    return waits.length === 0 ? undefined : Promise.all(waits);
  }

  /** Checks an index before anything is made for it. */
  check(index: number): void {
    this.#ring(index);
  }

  /** Seed A7; `EBUSY` while the ring runs. */
  setSize(index: number, size: number): void {
    const ring = this.#ring(index);
    this.device.setVringSize(index, size);
    ring.sized = true;
    this.#settle(index, ring);
  }

  /**
   * Seed A8; `EBUSY` while the ring runs. A front-end that says 0 may not know better: DPDK's
   * virtio-user says so in the middle of a ring's life, when its back-end has come back (T10). So 0
   * means where the used ring ends, which in a new ring is 0. In a packed ring 0 is a base like others.
   */
  setBase(index: number, base: number): void {
    this.#ring(index);
    const packed = (this.device.features & FEATURE.RING_PACKED) !== 0n;
    this.device.setVringBase(index, base === 0 && !packed ? undefined : base);
  }

  /** Seed A9. May be repeated while the ring runs, to switch logging. */
  setAddress({ index, ...addresses }: VringAddress, logAddress: number): void {
    const ring = this.#ring(index);
    this.device.setVringAddresses(index, { ...addresses, logAddress });
    ring.addressed = true;
    this.#settle(index, ring);
  }

  /**
   * INBAND_NOTIFICATIONS: calls and errors go out as messages, for every ring that was not told
   * otherwise: SET_VRING_CALL and SET_VRING_ERR still set eventfds, or have the guest poll.
   */
  notifyInBand(reports: InbandReports): void {
    for (const [index, told] of this.#told.entries()) {
      if (!told.call) {
        const call = new InbandReport(() => reports.tellCall(index));
        this.device.setVringCall(index, call);
      }
      if (!told.error) {
        const error = new InbandReport(() => reports.tellError(index));
        this.device.setVringError(index, error);
      }
    }
  }

  /** Without INBAND_NOTIFICATIONS a ring that was told of no eventfd calls nobody. */
  notifyByEvents(): void {
    for (const [index, told] of this.#told.entries()) {
      if (!told.call) this.device.setVringCall(index, undefined);
      if (!told.error) this.device.setVringError(index, undefined);
    }
  }

  /**
   * VRING_KICK: starts the ring, or has the device look at it. Does nothing for a ring whose kick is an
   * eventfd, or that is polled: those are preferred to messages.
   */
  kick(index: number): void {
    const ring = this.#ring(index);
    if (ring.started) {
      ring.inbandKick?.signal();
      return;
    }
    const port = new InbandKick();
    this.setKick(index, port);
    ring.inbandKick = port;
  }

  /** Takes over `port`. Does not change whether the ring is enabled (hazard T02). */
  setKick(index: number, port: EventPort): void {
    const ring = this.#ring(index);
    this.device.setVringKick(index, port);
    ring.inbandKick = undefined;
    ring.started = true;
    ring.hasRun = ring.mode === 'running';
    this.#settle(index, ring);
  }

  /** Takes over `port`, for good or until the next one. */
  setCall(index: number, port: EventPort | undefined): void {
    this.#ring(index);
    this.#toldOf(index).call = true;
    this.device.setVringCall(index, port);
  }

  /** Takes over `port`, for good or until the next one. */
  setError(index: number, port: EventPort | undefined): void {
    this.#ring(index);
    this.#toldOf(index).error = true;
    this.device.setVringError(index, port);
  }

  enable(index: number, enabled: boolean): void {
    const ring = this.#ring(index);
    ring.enabled = enabled;
    this.#settle(index, ring);
  }

  /** What a front-end without ring enabling expects of SET_FEATURES (hazard T02). */
  enableAll(): void {
    for (const ring of this.#rings) ring.enabled = true;
    this.#settleAll();
  }

  /** What is left of RESET_OWNER: no ring touches guest memory until it is enabled again. */
  disableAll(): void {
    for (const ring of this.#rings) {
      ring.enabled = false;
      ring.hasRun = false;
    }
    this.#settleAll();
  }

  /**
   * Stops the ring and tells the next available index. Size, addresses and enabling stay, the kick
   * is dead until there is a new one; harmless on a ring that never ran (hazard T05). With frames
   * outstanding in the backend the answer waits until they have come back.
   */
  stop(index: number): number | Promise<number> {
    const ring = this.#ring(index);
    this.#stop(index, ring);
    const settled = this.device.queueSettled(index);
    if (settled === undefined) return this.device.vringBase(index);
    return settled.then(() => this.device.vringBase(index));
  }

  /** As {@link stop}, for every ring. */
  stopAll(): void {
    for (const [index, ring] of this.#rings.entries()) this.#stop(index, ring);
  }

  /**
   * Everything back to how it was at connection, but for calls and error events: front-ends that
   * reset a device do not always send those again, and a ring that stands still uses neither.
   */
  reset(): void {
    for (const [index, ring] of this.#rings.entries()) {
      this.#stop(index, ring);
      this.device.setVringBase(index, undefined);
      Object.assign(ring, newVring());
    }
  }

  /**
   * Memory has changed. Rings that waited for it may run; one that the device had to stop because
   * the new memory does not hold it waits from now on. Regions come one by one, so neither is a
   * fault of this request's.
   */
  memoryChanged(): void {
    this.#settleAll({ afresh: true });
  }

  #toldOf(index: number): ToldEvents {
    return this.#told[index] as ToldEvents;
  }

  #stop(index: number, ring: Vring): void {
    ring.inbandKick = undefined;
    ring.started = false;
    ring.hasRun = false;
    this.#settle(index, ring);
    this.device.setVringKick(index, undefined);
  }

  /** Every ring gets its turn; then the first failure is thrown. */
  #settleAll({ afresh = false } = {}): void {
    const failures: unknown[] = [];
    for (const [index, ring] of this.#rings.entries()) {
      try {
        this.#settle(index, ring, afresh);
      } catch (error) {
        const waits = afresh && error instanceof VhostError && error.code === 'EFAULT';
        if (!waits) failures.push(error);
      }
    }
    if (failures.length > 0) throw failures[0];
  }

  /**
   * Tells the device what the ring may do, if that has changed (or `afresh`). Throws `EFAULT` when
   * the ring is not in shared memory: it stands still then, and what was asked for stays asked for.
   */
  #settle(index: number, ring: Vring, afresh = false): void {
    const mode = this.#modeOf(ring);
    if (mode === ring.mode && (mode === 'stopped' || !afresh)) return;
    try {
      this.device.runQueue(index, mode);
    } catch (error) {
      this.device.runQueue(index, 'stopped');
      ring.mode = 'stopped';
      throw error;
    }
    ring.mode = mode;
    if (mode === 'running') ring.hasRun = true;
  }

  #modeOf(ring: Vring): QueueMode {
    if (!ring.started || !ring.sized || !ring.addressed || !this.hasMemory()) return 'stopped';
    if (ring.enabled) return 'running';
    return ring.hasRun ? 'discarding' : 'stopped';
  }

  #ring(index: number): Vring {
    const ring = this.#rings[index];
    if (ring === undefined) {
      throw new VhostError('ENOBUFS', `there is no ring ${index}, only ${this.#rings.length}`);
    }
    return ring;
  }
}

function newVring(): Vring {
  return {
    sized: false,
    addressed: false,
    started: false,
    enabled: false,
    hasRun: false,
    mode: 'stopped',
    inbandKick: undefined,
  };
}
