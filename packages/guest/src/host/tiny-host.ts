import { VhostError } from '@rxvhost/core';
import { type ArpMessage, buildArp, parseArp } from './arp.js';
import { BROADCAST, buildEthernet, EtherType, parseEthernet } from './ethernet.js';
import { buildEcho, parseEcho } from './icmp-echo.js';
import { buildIpv4, formatIp, IpProtocol, parseIpv4 } from './ipv4.js';

/** Milliseconds that `resolve` and `ping` wait for an answer. */
export const DEFAULT_ANSWER_TIMEOUT = 2000;

const NO_DATA = new Uint8Array(0);

interface Waiter {
  /** What must come back, byte for byte; nothing for an ARP reply. */
  readonly data: Uint8Array;
  readonly resolve: (at: number) => void;
  readonly reject: (error: Error) => void;
  readonly timer: ReturnType<typeof setTimeout>;
}

/**
 * Just enough of a network stack for two guests to find and ping each other: it answers ARP requests
 * for its address and ICMP echo requests, and asks both itself. It owns no socket and no NIC: frames
 * go in through {@link receive} and out through the function that it is given.
 */
export class TinyHost {
  readonly #neighbours = new Map<string, Uint8Array>();
  readonly #waiters = new Map<string, Waiter>();
  #sequence = 0;

  /**
   * @param mac - six bytes
   * @param ip - four bytes
   * @param transmit - sends one frame, or loses it: nothing is sent again
   */
  constructor(
    readonly mac: Uint8Array,
    readonly ip: Uint8Array,
    readonly transmit: (frame: Uint8Array) => void,
  ) {}

  /** The MAC address behind `ip`, asked for by ARP unless known. Rejects with `ETIMEDOUT`. */
  async resolve(ip: Uint8Array, timeout = DEFAULT_ANSWER_TIMEOUT): Promise<Uint8Array> {
    const key = formatIp(ip);
    if (!this.#neighbours.has(key)) {
      const answer = this.#await(`arp ${key}`, NO_DATA, timeout);
      this.#sendArp('request', new Uint8Array(6), ip, BROADCAST);
      await answer;
    }
    return this.#neighbours.get(key) ?? BROADCAST;
  }

  /**
   * Sends one echo request.
   * @param dataLength - bytes behind the ICMP header, 0 to 1472
   * @returns the round trip in milliseconds. Rejects with `ETIMEDOUT`
   */
  async ping(ip: Uint8Array, dataLength = 56, timeout = DEFAULT_ANSWER_TIMEOUT): Promise<number> {
    const mac = await this.resolve(ip, timeout);
    this.#sequence = (this.#sequence + 1) & 0xffff;
    const sequence = this.#sequence;
    const data = Uint8Array.from({ length: dataLength }, (_, at) => (at + sequence) & 0xff);
    const echo = { kind: 'request', identifier: 1, sequence, data } as const;
    const frame = this.#ipFrame(mac, ip, buildEcho(echo));
    const answer = this.#await(`echo ${sequence}`, data, timeout);
    const sent = performance.now();
    this.transmit(frame);
    return (await answer) - sent;
  }

  /** Takes a received frame. False when it is neither ARP nor an echo for this host. */
  receive(frame: Uint8Array): boolean {
    const ethernet = parseEthernet(frame);
    if (ethernet === undefined) return false;
    if (ethernet.type === EtherType.ARP) {
      const message = parseArp(ethernet.payload);
      return message !== undefined && this.#onArp(message);
    }
    if (ethernet.type !== EtherType.IPV4) return false;
    const packet = parseIpv4(ethernet.payload);
    if (packet?.protocol !== IpProtocol.ICMP || !same(packet.destination, this.ip)) return false;
    const echo = parseEcho(packet.payload);
    if (echo === undefined) return false;
    if (echo.kind === 'reply') return this.#answer(`echo ${echo.sequence}`, echo.data);
    const reply = buildEcho({ ...echo, kind: 'reply' });
    this.transmit(this.#ipFrame(ethernet.source, packet.source, reply));
    return true;
  }

  /** Rejects everything that still waits, with `ECANCELED`. */
  close(): void {
    for (const { reject, timer } of this.#waiters.values()) {
      clearTimeout(timer);
      reject(new VhostError('ECANCELED', 'host: closed while it waited for an answer'));
    }
    this.#waiters.clear();
  }

  #onArp(message: ArpMessage): boolean {
    if (!same(message.targetIp, this.ip)) return false;
    this.#neighbours.set(formatIp(message.senderIp), message.senderMac.slice());
    if (message.operation === 'reply') {
      return this.#answer(`arp ${formatIp(message.senderIp)}`, NO_DATA);
    }
    this.#sendArp('reply', message.senderMac, message.senderIp, message.senderMac);
    return true;
  }

  #sendArp(
    operation: 'request' | 'reply',
    targetMac: Uint8Array,
    targetIp: Uint8Array,
    destination: Uint8Array,
  ): void {
    const sender = { senderMac: this.mac, senderIp: this.ip };
    const message = buildArp({ operation, ...sender, targetMac, targetIp });
    this.transmit(buildEthernet(destination, this.mac, EtherType.ARP, message));
  }

  #ipFrame(mac: Uint8Array, destination: Uint8Array, payload: Uint8Array): Uint8Array {
    const packet = { source: this.ip, destination, protocol: IpProtocol.ICMP, payload };
    return buildEthernet(mac, this.mac, EtherType.IPV4, buildIpv4(packet));
  }

  #await(key: string, data: Uint8Array, timeout: number): Promise<number> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiters.delete(key);
        reject(new VhostError('ETIMEDOUT', `host: no answer to ${key} within ${timeout} ms`));
      }, timeout);
      this.#waiters.set(key, { data, resolve, reject, timer });
    });
  }

  #answer(key: string, data: Uint8Array): boolean {
    const waiter = this.#waiters.get(key);
    if (waiter === undefined || !same(waiter.data, data)) return false;
    this.#waiters.delete(key);
    clearTimeout(waiter.timer);
    waiter.resolve(performance.now());
    return true;
  }
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, at) => byte === b[at]);
}
