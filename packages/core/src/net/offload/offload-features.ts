/**
 * Offloads let one side leave work to the other: a checksum to fill in, a large segment to cut up.
 * The virtio-net header of each frame says what is left to do; feature bits say which side may ask
 * for what. `HOST_…` and `CSUM` are what the driver may leave to us, `GUEST_…` what we may leave to
 * the driver (virtio 1.2, 5.1.3). Some bits mean nothing without another one (5.1.3.1): without a
 * partial checksum there is no segmentation, for example.
 */
import type { PacketSocket } from '../../backend/packet-socket.js';
import { VhostError } from '../../errors/vhost-error.js';
import { NET_FEATURE } from '../net-features.js';

/** The offloads by name, and `status`, as {@link OffloadSwitches} switches them. */
export const NET_OFFLOADS = {
  csum: NET_FEATURE.CSUM,
  hostTso4: NET_FEATURE.HOST_TSO4,
  hostTso6: NET_FEATURE.HOST_TSO6,
  hostEcn: NET_FEATURE.HOST_ECN,
  hostUfo: NET_FEATURE.HOST_UFO,
  hostUso: NET_FEATURE.HOST_USO,
  guestCsum: NET_FEATURE.GUEST_CSUM,
  guestTso4: NET_FEATURE.GUEST_TSO4,
  guestTso6: NET_FEATURE.GUEST_TSO6,
  guestEcn: NET_FEATURE.GUEST_ECN,
  guestUfo: NET_FEATURE.GUEST_UFO,
  guestUso4: NET_FEATURE.GUEST_USO4,
  guestUso6: NET_FEATURE.GUEST_USO6,
  status: NET_FEATURE.STATUS,
} as const;

/** An offload's name. */
export type OffloadName = keyof typeof NET_OFFLOADS;

/** Every name, in the order of {@link NET_OFFLOADS}. */
export const OFFLOAD_NAMES = Object.keys(NET_OFFLOADS) as readonly OffloadName[];

/**
 * Which offloads a NIC offers. `false`: not offered, nor what depends on it. `true`: offered whatever
 * the backends say. Left out: offered where that helps, see {@link offeredOffloads}.
 */
export type OffloadSwitches = { readonly [name in OffloadName]?: boolean };

/** What the driver may leave to us. */
export const HOST_OFFLOADS =
  NET_FEATURE.CSUM |
  NET_FEATURE.HOST_TSO4 |
  NET_FEATURE.HOST_TSO6 |
  NET_FEATURE.HOST_ECN |
  NET_FEATURE.HOST_UFO |
  NET_FEATURE.HOST_USO;

/** What we may leave to the driver. */
export const GUEST_OFFLOADS =
  NET_FEATURE.GUEST_CSUM |
  NET_FEATURE.GUEST_TSO4 |
  NET_FEATURE.GUEST_TSO6 |
  NET_FEATURE.GUEST_ECN |
  NET_FEATURE.GUEST_UFO |
  NET_FEATURE.GUEST_USO4 |
  NET_FEATURE.GUEST_USO6;

const HOST_TSO = NET_FEATURE.HOST_TSO4 | NET_FEATURE.HOST_TSO6;
const GUEST_TSO = NET_FEATURE.GUEST_TSO4 | NET_FEATURE.GUEST_TSO6;

/** Offload, and the bits of which it needs one; bases stand before what needs them. */
const BASES: readonly (readonly [name: OffloadName, base: bigint])[] = [
  ['hostTso4', NET_FEATURE.CSUM],
  ['hostTso6', NET_FEATURE.CSUM],
  ['hostEcn', HOST_TSO],
  ['hostUfo', NET_FEATURE.CSUM],
  ['hostUso', NET_FEATURE.CSUM],
  ['guestTso4', NET_FEATURE.GUEST_CSUM],
  ['guestTso6', NET_FEATURE.GUEST_CSUM],
  ['guestEcn', GUEST_TSO],
  ['guestUfo', NET_FEATURE.GUEST_CSUM],
  ['guestUso4', NET_FEATURE.GUEST_CSUM],
  ['guestUso6', NET_FEATURE.GUEST_CSUM],
];

/**
 * The offloads in `features` that have all they depend on; other bits are left out. A driver should
 * not accept a dependent bit without its base, but front-ends pass on what guests say, and some
 * guests do: such a bit is as good as not accepted.
 */
export function effectiveOffloads(features: bigint): bigint {
  let effective = features & (HOST_OFFLOADS | GUEST_OFFLOADS);
  for (const [name, base] of BASES) {
    if ((effective & base) === 0n) effective &= ~NET_OFFLOADS[name];
  }
  return effective;
}

/**
 * The feature bits that a NIC offers. What its backends cannot take is finished in software, so the
 * driver's side is offered always, but for backends that send by reference: their frames would be
 * copied. What we may leave to the driver is offered if every backend gives it.
 *
 * Throws `EINVAL` for an offload that is switched on while its base is off.
 */
export function offeredOffloads(
  switches: OffloadSwitches,
  backends: readonly PacketSocket[],
): bigint {
  const automatic = automaticOffers(backends);
  let wanted = 0n;
  for (const name of OFFLOAD_NAMES) {
    const bit = NET_OFFLOADS[name];
    if (switches[name] ?? (automatic & bit) !== 0n) wanted |= bit;
  }
  const offered = effectiveOffloads(wanted) | (wanted & NET_FEATURE.STATUS);
  const refused = OFFLOAD_NAMES.find(
    (name) => switches[name] === true && (offered & NET_OFFLOADS[name]) === 0n,
  );
  if (refused !== undefined) {
    throw new VhostError('EINVAL', `offload ${refused} is on, but what it depends on is off`);
  }
  return offered;
}

function automaticOffers(backends: readonly PacketSocket[]): bigint {
  let offers = NET_FEATURE.STATUS | HOST_OFFLOADS;
  if (backends.length > 0) offers |= GUEST_OFFLOADS;
  for (const { offloads, zeroCopy } of backends) {
    const supported = offloads?.supported ?? 0n;
    offers &= ~GUEST_OFFLOADS | supported;
    if (zeroCopy !== undefined) offers &= ~HOST_OFFLOADS | supported;
  }
  return offers;
}
