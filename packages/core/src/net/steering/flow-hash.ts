/**
 * Which flow a frame belongs to, as a number (virtio 1.2, 5.1.6.4.3.2 to 5.1.6.4.3.4): the Toeplitz
 * hash of its addresses and, where the driver wants them, its ports. All frames of a flow have the
 * same hash, so that a queue chosen by it gets them in order.
 */
import { IPV6_EXTENSIONS, PacketHeaders, PROTOCOL } from '../offload/packet-headers.js';
import { MAX_HASH_INPUT, type Toeplitz } from './toeplitz.js';

/** What may be hashed, the bits of `hash_types`. */
export const HASH_TYPE = {
  IPV4: 1 << 0,
  TCPV4: 1 << 1,
  UDPV4: 1 << 2,
  IPV6: 1 << 3,
  TCPV6: 1 << 4,
  UDPV6: 1 << 5,
} as const;

/** All of {@link HASH_TYPE}: IPv6 extension headers are looked behind, not into. */
export const SUPPORTED_HASH_TYPES =
  HASH_TYPE.IPV4 |
  HASH_TYPE.TCPV4 |
  HASH_TYPE.UDPV4 |
  HASH_TYPE.IPV6 |
  HASH_TYPE.TCPV6 |
  HASH_TYPE.UDPV6;

/** What was hashed, as the header's `hash_report` says it. */
export const HASH_REPORT = {
  NONE: 0,
  IPV4: 1,
  TCPV4: 2,
  UDPV4: 3,
  IPV6: 4,
  TCPV6: 5,
  UDPV6: 6,
} as const;

interface Choice {
  readonly type: number;
  readonly report: number;
}

interface Choices {
  readonly tcp: Choice;
  readonly udp: Choice;
  readonly addresses: Choice;
}

const CHOICES: Readonly<Record<4 | 6, Choices>> = {
  4: {
    tcp: { type: HASH_TYPE.TCPV4, report: HASH_REPORT.TCPV4 },
    udp: { type: HASH_TYPE.UDPV4, report: HASH_REPORT.UDPV4 },
    addresses: { type: HASH_TYPE.IPV4, report: HASH_REPORT.IPV4 },
  },
  6: {
    tcp: { type: HASH_TYPE.TCPV6, report: HASH_REPORT.TCPV6 },
    udp: { type: HASH_TYPE.UDPV6, report: HASH_REPORT.UDPV6 },
    addresses: { type: HASH_TYPE.IPV6, report: HASH_REPORT.IPV6 },
  },
};

/** Where the addresses begin in the IP header, and bytes of both together. */
const ADDRESSES: Readonly<Record<4 | 6, { readonly at: number; readonly length: number }>> = {
  4: { at: 12, length: 8 },
  6: { at: 8, length: 32 },
};
const PORTS_LENGTH = 4;

/** Hashes frames; {@link value} and {@link report} tell of the last one. */
export class FlowHash {
  /** The hash; 0 where nothing was hashed. */
  value = 0;
  /** What was hashed: one of {@link HASH_REPORT}. */
  report: number = HASH_REPORT.NONE;

  readonly #headers = new PacketHeaders(IPV6_EXTENSIONS);
  readonly #input = new Uint8Array(MAX_HASH_INPUT);

  /** @param types - bits of {@link HASH_TYPE} that the driver has enabled */
  constructor(
    private readonly toeplitz: Toeplitz,
    private readonly types: number,
  ) {}

  /** Hashes the frame at `at … end - 1`. */
  hash(view: DataView, at: number, end: number): void {
    const headers = this.#headers;
    this.value = 0;
    this.report = HASH_REPORT.NONE;
    const whole = headers.find(view, at, end);
    if (!whole && !headers.fragment) return;
    const choices = CHOICES[headers.version];
    const hasPorts = whole && headers.transport + PORTS_LENGTH <= end;
    const { protocol } = headers;
    if (hasPorts && protocol === PROTOCOL.TCP && this.#enabled(choices.tcp)) {
      this.#take(view, choices.tcp, true);
    } else if (hasPorts && protocol === PROTOCOL.UDP && this.#enabled(choices.udp)) {
      this.#take(view, choices.udp, true);
    } else if (this.#enabled(choices.addresses)) {
      this.#take(view, choices.addresses, false);
    }
  }

  #enabled({ type }: Choice): boolean {
    return (this.types & type) !== 0;
  }

  #take(view: DataView, { report }: Choice, ports: boolean): void {
    const { ip, transport, version } = this.#headers;
    const { at, length } = ADDRESSES[version];
    const input = this.#input;
    for (let byte = 0; byte < length; byte += 1) input[byte] = view.getUint8(ip + at + byte);
    let used = length;
    if (ports) {
      for (let byte = 0; byte < PORTS_LENGTH; byte += 1) {
        input[used + byte] = view.getUint8(transport + byte);
      }
      used += PORTS_LENGTH;
    }
    this.value = this.toeplitz.hash(input, used);
    this.report = report;
  }
}
