import { orGiveBack } from '../errors/or-give-back.js';
import type { EventPort } from '../events/event-port.js';
import type { VringAddresses } from './virtio-device.js';
import type { Vring } from './vring.js';

/** The requests that concern one vring (seeds A6 to A10), for a device to inherit. */
export abstract class VringRequests {
  /** The vring, for an owner; `EPERM` without one, `ENOBUFS` where there is no such queue (A1, A6). */
  protected abstract vring(index: number): Vring;

  /** Throws as every request about queue `index` does: `EPERM`, `ENOBUFS` (A1, A6). */
  checkVring(index: number): void {
    this.vring(index);
  }

  setVringSize(index: number, size: number): void {
    this.vring(index).setSize(size);
  }

  setVringBase(index: number, base: number | undefined): void {
    this.vring(index).setBase(base);
  }

  setInflight(index: number, region: Uint8Array | undefined): void {
    this.vring(index).setInflight(region);
  }

  vringBase(index: number): number {
    return this.vring(index).base;
  }

  setVringAddresses(index: number, addresses: VringAddresses): void {
    this.vring(index).setAddresses(addresses);
  }

  setVringKick(index: number, port: EventPort | undefined): void {
    this.#givePort(index, port, (vring) => vring.setKick(port));
  }

  setVringCall(index: number, port: EventPort | undefined): void {
    this.#givePort(index, port, (vring) => vring.setCall(port));
  }

  setVringError(index: number, port: EventPort | undefined): void {
    this.#givePort(index, port, (vring) => vring.setError(port));
  }

  /**
   * Microseconds to look at this queue's ring, when it is empty, before asking for a kick (C14); what
   * the device was made with until it is set, and again after a reset.
   */
  setVringBusyPoll(index: number, microseconds: number): void {
    this.vring(index).setBusyPoll(microseconds);
  }

  vringBusyPoll(index: number): number {
    return this.vring(index).busyPoll;
  }

  #givePort(index: number, port: EventPort | undefined, give: (vring: Vring) => void): void {
    orGiveBack(
      () => port?.close(),
      () => give(this.vring(index)),
    );
  }
}
