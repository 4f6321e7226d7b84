import { VhostError } from '@rxvhost/core';
import type { OutgoingPacket } from './ip-packet.js';
import type { RawLibrary, RawLibrarySocket } from './raw-library.js';

/** The largest packet that the host puts together. */
const LARGEST_PACKET = 65535;
const IPPROTO_IP = 0;
const IP_TTL = 2;
const IPPROTO_IPV6 = 41;
const IPV6_UNICAST_HOPS = 16;

/** What a port tells its owner. */
export interface IpPortEvents {
  received(port: IpPort, message: Uint8Array, source: string): void;
  /** The library gave the socket up. */
  failed(error: VhostError): void;
}

/**
 * One protocol of one address family: a socket of the library. Guests say which payload goes where; the
 * host's kernel makes the header, so that a guest cannot use another protocol or somebody else's
 * address, whatever it does to the packet while it is on its way.
 */
export class IpPort {
  readonly #socket: RawLibrarySocket;
  #hopLimit = -1;
  #open = true;

  /** Throws `EPERM` without CAP_NET_RAW, or what else the library says. */
  constructor(
    library: RawLibrary,
    readonly family: 4 | 6,
    readonly protocol: number,
    events: IpPortEvents,
  ) {
    const { IPv4, IPv6 } = library.AddressFamily;
    const addressFamily = family === 4 ? IPv4 : IPv6;
    try {
      this.#socket = library.createSocket({ protocol, addressFamily, bufferSize: LARGEST_PACKET });
    } catch (cause) {
      throw explain(cause, family, protocol);
    }
    this.#socket.on('message', (message, source) => events.received(this, message, source));
    // One message that could not be received; the library goes on, or says that it has closed.
    this.#socket.on('error', () => {});
    this.#socket.on('close', () => {
      if (!this.#open) return;
      this.#open = false;
      const message = `the IPv${family} socket for protocol ${protocol} failed`;
      events.failed(new VhostError('EIO', message));
    });
  }

  /**
   * Sends a payload when its turn comes. It stays where it is until `done` is called.
   * @param done - with whether it went out; not called when the port closes first
   */
  send(payload: Buffer, packet: OutgoingPacket, done: (succeeded: boolean) => void): void {
    const before = () => this.#setHopLimit(packet.hopLimit);
    const after = (error: Error | null) => done(error === null);
    this.#socket.send(payload, 0, payload.length, packet.destination, before, after);
  }

  pause(): void {
    if (this.#open) this.#socket.pauseRecv();
  }

  resume(): void {
    if (this.#open) this.#socket.resumeRecv();
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#socket.close();
  }

  #setHopLimit(hopLimit: number): void {
    if (hopLimit === this.#hopLimit) return;
    if (this.family === 4) this.#socket.setOption(IPPROTO_IP, IP_TTL, hopLimit);
    else this.#socket.setOption(IPPROTO_IPV6, IPV6_UNICAST_HOPS, hopLimit);
    this.#hopLimit = hopLimit;
  }
}

/** The library says what is wrong in words only. */
function explain(cause: unknown, family: number, protocol: number): VhostError {
  const text = cause instanceof Error ? cause.message : String(cause);
  if (/not permitted|denied/i.test(text)) {
    const message =
      'an IP socket needs CAP_NET_RAW: run as root, or sudo setcap cap_net_raw=ep $(which node)';
    return new VhostError('EPERM', message, { cause });
  }
  const code = /protocol not supported/i.test(text) ? 'EPROTONOSUPPORT' : 'EIO';
  return new VhostError(code, `open an IPv${family} socket for protocol ${protocol}: ${text}`, {
    cause,
  });
}
