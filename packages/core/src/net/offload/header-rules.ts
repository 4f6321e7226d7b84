import { NET_FEATURE } from '../net-features.js';
import { GSO, HEADER_FLAG } from './header-fields.js';

/**
 * Which headers may pass, as tables over the two bytes that decide: made at attach from feature bits,
 * looked up for each frame.
 */
export class HeaderRules {
  /** `flags` that may be set. */
  readonly flags: number;
  /** 1 for each `gso_type` that may stand there. */
  readonly types = new Uint8Array(256);

  private constructor(
    flags: number,
    needs: readonly (readonly [bigint, number])[],
    ecn: bigint,
    features: bigint,
  ) {
    this.flags = flags;
    this.types[GSO.NONE] = 1;
    for (const [feature, type] of needs) {
      if ((features & feature) === 0n) continue;
      this.types[type] = 1;
      const tcp = type === GSO.TCPV4 || type === GSO.TCPV6;
      if (tcp && (features & ecn) !== 0n) this.types[type | GSO.ECN] = 1;
    }
  }

  /** What a driver that has accepted `features` may ask of us. Flags that it need not know are its own. */
  static forTransmit(features: bigint): HeaderRules {
    const needsChecksum = (features & NET_FEATURE.CSUM) !== 0n;
    return new HeaderRules(
      needsChecksum ? 0xff : 0xff & ~HEADER_FLAG.NEEDS_CSUM,
      [
        [NET_FEATURE.HOST_TSO4, GSO.TCPV4],
        [NET_FEATURE.HOST_TSO6, GSO.TCPV6],
        [NET_FEATURE.HOST_UFO, GSO.UDP],
        [NET_FEATURE.HOST_USO, GSO.UDP_L4],
      ],
      NET_FEATURE.HOST_ECN,
      features,
    );
  }

  /** What we may give a driver that has accepted `features` (virtio 1.2, 5.1.6.4.1). */
  static forReceive(features: bigint): HeaderRules {
    const checksum = (features & NET_FEATURE.GUEST_CSUM) !== 0n;
    const uso = NET_FEATURE.GUEST_USO4 | NET_FEATURE.GUEST_USO6;
    return new HeaderRules(
      checksum ? HEADER_FLAG.NEEDS_CSUM | HEADER_FLAG.DATA_VALID : 0,
      [
        [NET_FEATURE.GUEST_TSO4, GSO.TCPV4],
        [NET_FEATURE.GUEST_TSO6, GSO.TCPV6],
        [NET_FEATURE.GUEST_UFO, GSO.UDP],
        // The type does not tell the IP version: both must have been accepted for it to pass.
        ...((features & uso) === uso ? [[uso, GSO.UDP_L4] as const] : []),
      ],
      NET_FEATURE.GUEST_ECN,
      features,
    );
  }

  /** Whether a frame with this header may pass. */
  allow(flags: number, type: number): boolean {
    return (flags & ~this.flags) === 0 && this.types[type] === 1;
  }
}
