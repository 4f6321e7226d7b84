import type { VhostError } from '@rxvhost/core';
import { type Observable, Subject, type Subscription } from 'rxjs';
import type { PacketEndpoint, PayloadSink } from '../carrier/packet-endpoint.js';
import type { PacketHeader } from '../protocol/packet-header.js';

/**
 * Several endpoints on one carrier, each with an address of its own: the host, and one for every
 * other guest that this guest may reach. They take turns at sending.
 */
export class EndpointSwitch implements PacketEndpoint {
  readonly #endpoints = new Map<number, PacketEndpoint>();
  readonly #order: PacketEndpoint[] = [];
  readonly #subscriptions = new Map<number, Subscription>();
  readonly #sendable$ = new Subject<void>();
  #features = 0n;
  #turn = 0;

  readonly sendable$: Observable<void> = this.#sendable$.asObservable();

  /** Gives `endpoint` the packets for `cid` from now on; replaces none. */
  add(cid: number, endpoint: PacketEndpoint): void {
    this.#endpoints.set(cid, endpoint);
    this.#order.push(endpoint);
    endpoint.setFeatures(this.#features);
    this.#subscriptions.set(
      cid,
      endpoint.sendable$.subscribe(() => this.#sendable$.next()),
    );
  }

  /** Whether somebody has this address. */
  has(cid: number): boolean {
    return this.#endpoints.has(cid);
  }

  get sendable(): boolean {
    return this.#order.some(({ sendable }) => sendable);
  }

  get queuedReplies(): number {
    let replies = 0;
    for (const endpoint of this.#order) replies += endpoint.queuedReplies;
    return replies;
  }

  receive(header: PacketHeader, payload: readonly Uint8Array[]): void {
    this.#endpoints.get(header.destinationCid)?.receive(header, payload);
  }

  next(header: PacketHeader, room: number, sink: PayloadSink): boolean {
    const { length } = this.#order;
    for (let tries = 0; tries < length; tries += 1) {
      this.#turn = (this.#turn + 1) % length;
      if (this.#order[this.#turn]?.next(header, room, sink) === true) return true;
    }
    return false;
  }

  setFeatures(features: bigint): void {
    this.#features = features;
    for (const endpoint of this.#order) endpoint.setFeatures(features);
  }

  reset(reason: VhostError): void {
    for (const endpoint of this.#order) endpoint.reset(reason);
  }
}
