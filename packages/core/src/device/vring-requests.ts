import { orGiveBack } from '../errors/or-give-back.js';
import type { EventPort } from '../events/event-port.js';
import type { VringAddresses } from './virtio-device.js';
import type { Vring } from './vring.js';

/** The requests that concern one vring (seeds A6 to A10), for a device to inherit. */
export abstract class VringRequests {
  /** The vring, for an owner; `EPERM` without one, `ENOBUFS` where there is no such queue (A1, A6). */
  protected abstract vring(index: number): Vring;

  setVringSize(index: number, size: number): void {
    this.vring(index).setSize(size);
  }

  setVringBase(index: number, availableIndex: number): void {
    this.vring(index).setBase(availableIndex);
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

  #givePort(index: number, port: EventPort | undefined, give: (vring: Vring) => void): void {
    orGiveBack(
      () => port?.close(),
      () => give(this.vring(index)),
    );
  }
}
