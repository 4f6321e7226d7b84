/**
 * A primer on raw IP sockets. `AF_INET` with `SOCK_RAW` gives a copy of every packet of one IP protocol
 * that has reached the host, and sends payloads of that protocol. There is no Ethernet and no interface:
 * the host routes. So this backend plays the network that a NIC expects: a gateway answers for every
 * address, frames are made for what is received, and of frames that are sent the payload goes out,
 * from where it lies in guest memory. The `raw-socket` library calls back when it is done with it.
 */
import {
  ERRNO,
  EventLoopTurns,
  LocalReadiness,
  type PacketBatch,
  type PacketSocket,
  type VhostError,
  type ZeroCopySender,
} from '@rxvhost/core';
import { merge, type Observable, Subject } from 'rxjs';
import { CompletionQueue } from './completion-queue.js';
import { Gateway } from './gateway.js';
import { GuestAddresses } from './guest-addresses.js';
import { type OutgoingPacket, readOutgoing } from './ip-packet.js';
import { IpPort } from './ip-port.js';
import { payloadOf } from './payload.js';
import type { RawLibrary } from './raw-library.js';

/** An address family and a protocol of it. */
export interface IpProtocolChoice {
  readonly family: 4 | 6;
  /** IP protocol number, 1 … 254. */
  readonly protocol: number;
}

/** Frames that wait to be received before the library is paused. */
const MOST_WAITING = 256;
/** Payloads that the library has not sent before `send` takes no more. */
const MOST_PENDING = 512;
/** Bytes of a frame that are looked at: headers with every option, or a whole ARP or ICMPv6 question. */
const START_LENGTH = 128;

/**
 * Chosen IP protocols as a backend. Frames without the virtio-net header; short ones are copied, the
 * others go out by reference and complete from the library's callback (seed C11).
 */
export class IpSocket implements PacketSocket {
  readonly headerLength = 0;
  readonly readable$: Observable<void>;
  readonly writable$: Observable<void>;
  readonly zeroCopy: ZeroCopySender;

  readonly #ports = new Map<number, IpPort>();
  readonly #waiting: Uint8Array[] = [];
  readonly #start = new Uint8Array(START_LENGTH);
  readonly #completions = new CompletionQueue();
  readonly #failure = new Subject<never>();
  readonly #readable: LocalReadiness;
  readonly #writable: LocalReadiness;
  readonly #gateway: Gateway;
  readonly #guest: GuestAddresses;
  #pending = 0;
  #full = false;
  #paused = false;
  #closed = false;
  #unaddressed = 0;

  /** @param mac - the gateway's, 6 bytes. Throws what {@link IpPort} throws */
  constructor(library: RawLibrary, choices: readonly IpProtocolChoice[], mac: Uint8Array) {
    this.#gateway = new Gateway(mac);
    this.#guest = new GuestAddresses(mac);
    const turns = new EventLoopTurns();
    this.#readable = new LocalReadiness(turns, () => this.#waiting.length > 0);
    this.#writable = new LocalReadiness(turns, () => !this.#full);
    this.readable$ = merge(this.#readable.ready$, this.#failure);
    this.writable$ = merge(this.#writable.ready$, this.#failure);
    this.zeroCopy = {
      completions$: this.#completions.completions$,
      send: (batch, first, tickets) => this.#sendAll(batch, first, tickets),
    };
    try {
      for (const choice of choices) this.#open(library, choice);
    } catch (error) {
      for (const port of this.#ports.values()) port.close();
      throw error;
    }
  }

  /** IPv6 packets that came before the guest had shown an address of its own, and were dropped. */
  get unaddressed(): number {
    return this.#unaddressed;
  }

  send(batch: PacketBatch, first: number): number {
    return this.#sendAll(batch, first, undefined);
  }

  receive(batch: PacketBatch): number {
    let taken = 0;
    for (const frame of this.#waiting) {
      if (batch.deliver(frame) === 'full') break;
      taken += 1;
    }
    this.#waiting.splice(0, taken);
    if (this.#paused && this.#waiting.length < MOST_WAITING / 2) this.#resume();
    let chains = 0;
    for (let frame = 0; frame < batch.frameCount; frame += 1) {
      chains += batch.frameChains[frame] as number;
    }
    return chains;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const port of this.#ports.values()) port.close();
    this.#completions.end();
    this.#readable.end();
    this.#writable.end();
    this.#failure.complete();
  }

  #open(library: RawLibrary, { family, protocol }: IpProtocolChoice): void {
    const key = portKey(family, protocol);
    if (this.#ports.has(key)) return;
    const port = new IpPort(library, family, protocol, {
      received: (from, message, source) => this.#received(from, message, source),
      failed: (error) => this.#fail(error),
    });
    this.#ports.set(key, port);
  }

  #sendAll(batch: PacketBatch, first: number, tickets: Uint32Array | undefined): number {
    for (let frame = first; frame < batch.count; frame += 1) {
      if (this.#pending >= MOST_PENDING) {
        this.#full = true;
        return frame - first;
      }
      const ticket = tickets === undefined ? undefined : (tickets[frame] as number);
      batch.results[frame] = this.#sendOne(batch, frame, ticket);
    }
    return batch.count - first;
  }

  /** @returns the frame's bytes, or a negative errno */
  #sendOne(batch: PacketBatch, frame: number, ticket: number | undefined): number {
    const length = batch.frameLength(frame);
    const start = this.#start.subarray(0, batch.copyFrame(frame, this.#start));
    this.#guest.learn(start);
    const answer = this.#gateway.answer(start);
    if (answer !== false) {
      if (answer !== undefined) this.#push(answer);
      this.#finish(ticket);
      return length;
    }
    const packet = readOutgoing(start, length);
    if (packet === undefined) return -ERRNO.EPROTONOSUPPORT;
    const port = this.#ports.get(portKey(packet.family, packet.protocol));
    if (port === undefined) return -ERRNO.EPROTONOSUPPORT;
    this.#hand(port, packet, payloadOf(batch, frame, packet, ticket !== undefined), ticket);
    return length;
  }

  #hand(port: IpPort, packet: OutgoingPacket, payload: Buffer, ticket: number | undefined): void {
    if (ticket !== undefined) this.#completions.add(ticket);
    this.#pending += 1;
    port.send(payload, packet, (succeeded) => {
      this.#pending -= 1;
      if (ticket !== undefined) this.#completions.complete(ticket, succeeded);
      if (!this.#full || this.#pending > MOST_PENDING / 2) return;
      this.#full = false;
      this.#writable.check();
    });
  }

  /** A frame by reference that is done with at once. */
  #finish(ticket: number | undefined): void {
    if (ticket === undefined) return;
    this.#completions.add(ticket);
    this.#completions.complete(ticket, true);
  }

  #received(port: IpPort, message: Uint8Array, source: string): void {
    const frame = this.#guest.frame(port.family, port.protocol, message, source);
    if (frame === 'unaddressed') this.#unaddressed += 1;
    else if (frame !== undefined) this.#push(frame);
  }

  /** Puts a frame where it waits; a guest that asks and asks and never receives gets no more answers. */
  #push(frame: Uint8Array): void {
    if (this.#closed || this.#waiting.length >= 2 * MOST_WAITING) return;
    this.#waiting.push(frame);
    if (!this.#paused && this.#waiting.length >= MOST_WAITING) {
      this.#paused = true;
      for (const port of this.#ports.values()) port.pause();
    }
    this.#readable.check();
  }

  #resume(): void {
    this.#paused = false;
    for (const port of this.#ports.values()) port.resume();
  }

  #fail(error: VhostError): void {
    this.#completions.fail();
    this.#failure.error(error);
  }
}

function portKey(family: 4 | 6, protocol: number): number {
  return family * 256 + protocol;
}
