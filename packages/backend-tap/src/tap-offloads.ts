/**
 * What a tap may leave unfinished. `TUNSETOFFLOAD` says which frames the reader of the fd takes: with
 * a partial checksum, as large segments. What is *written* needs no setting: the kernel takes
 * every frame that its virtio-net header describes.
 */
import { HOST_OFFLOADS, NET_FEATURE, type SocketOffloads, VhostError } from '@rxvhost/core';
import { setOffload, TUN_OFFLOADS } from '@rxvhost/sys';

const TSO = TUN_OFFLOADS.TUN_F_TSO4 | TUN_OFFLOADS.TUN_F_TSO6;
/** The kernel takes these two together or not at all. */
const USO = TUN_OFFLOADS.TUN_F_USO4 | TUN_OFFLOADS.TUN_F_USO6;

/** `GUEST_…` features, and what stands for each one in `TUNSETOFFLOAD`. */
const TUN_OFFLOAD_OF: readonly (readonly [feature: bigint, offload: number])[] = [
  [NET_FEATURE.GUEST_CSUM, TUN_OFFLOADS.TUN_F_CSUM],
  [NET_FEATURE.GUEST_TSO4, TUN_OFFLOADS.TUN_F_TSO4],
  [NET_FEATURE.GUEST_TSO6, TUN_OFFLOADS.TUN_F_TSO6],
  [NET_FEATURE.GUEST_ECN, TUN_OFFLOADS.TUN_F_TSO_ECN],
  [NET_FEATURE.GUEST_UFO, TUN_OFFLOADS.TUN_F_UFO],
  [NET_FEATURE.GUEST_USO4, TUN_OFFLOADS.TUN_F_USO4],
  [NET_FEATURE.GUEST_USO6, TUN_OFFLOADS.TUN_F_USO6],
];

const EVERY_OFFLOAD = TUN_OFFLOAD_OF.reduce((all, [, offload]) => all | offload, 0);

/** Ever less, for kernels that refuse more: without USO (before Linux 6.2), without UFO, … */
const LESS: readonly number[] = [
  ~0,
  ~USO,
  ~(USO | TUN_OFFLOADS.TUN_F_UFO),
  ~(USO | TUN_OFFLOADS.TUN_F_UFO | TUN_OFFLOADS.TUN_F_TSO_ECN),
  TUN_OFFLOADS.TUN_F_CSUM,
  0,
];

/** The `GUEST_…` bits of `features` as bits of `TUNSETOFFLOAD`. */
export function tunOffloads(features: bigint): number {
  let offloads = 0;
  for (const [feature, offload] of TUN_OFFLOAD_OF) {
    if ((features & feature) !== 0n) offloads |= offload;
  }
  if ((offloads & USO) !== USO) offloads &= ~USO;
  if ((offloads & TSO) === 0) offloads &= ~TUN_OFFLOADS.TUN_F_TSO_ECN;
  return offloads;
}

/**
 * Sets `offloads` on a tap, or the most of them that its kernel takes (hazard T54).
 * @returns what was set. Throws what the tap answers to every try
 */
export function setMostOffloads(fd: number, offloads: number): number {
  let refusal: unknown;
  for (const less of LESS) {
    const attempt = offloads & less;
    try {
      setOffload(fd, attempt);
      return attempt;
    } catch (error) {
      if (!(error instanceof VhostError) || error.code !== 'EINVAL') throw error;
      refusal = error;
    }
  }
  throw refusal;
}

/**
 * The offloads of one interface, shared by the sockets of all its queues: `TUNSETOFFLOAD` is said of
 * the interface, so what any of its queues has accepted stays on until the last one takes it back.
 */
export class TapOffloads {
  /** Found by trying; nothing is on when the constructor returns. */
  readonly supported: bigint;
  readonly #accepted = new Map<number, bigint>();
  #current = 0;

  /** @param fd - any queue of the interface, with a vnet header. Throws what it answers */
  constructor(fd: number) {
    const most = setMostOffloads(fd, EVERY_OFFLOAD);
    // Whoever had the tap before may have switched some on that no guest has agreed to (T54).
    setOffload(fd, 0);
    this.supported = supportedFeatures(most);
  }

  /** Bits of `TUN_OFFLOADS` that are set on the interface. */
  get current(): number {
    return this.#current;
  }

  /** The contract's view of it, for the queue of this fd. */
  forQueue(fd: number): SocketOffloads {
    const accept = (features: bigint) => this.#accept(fd, features);
    return { supported: this.supported, accept };
  }

  #accept(fd: number, features: bigint): void {
    if (features === 0n) this.#accepted.delete(fd);
    else this.#accepted.set(fd, features);
    const all = [...this.#accepted.values()].reduce((sum, some) => sum | some, 0n);
    const wanted = tunOffloads(all);
    if (wanted === this.#current) return;
    try {
      this.#current = setMostOffloads(fd, wanted);
    } catch {
      // The interface is gone, which reading it reports; or its offloads stay as they are, and the
      // device lets nothing through that the driver has not accepted.
    }
  }
}

function supportedFeatures(offloads: number): bigint {
  let features = HOST_OFFLOADS;
  for (const [feature, offload] of TUN_OFFLOAD_OF) {
    if ((offloads & offload) !== 0) features |= feature;
  }
  // A kernel that gives no USO takes none either: both came with Linux 6.2.
  return (offloads & USO) === 0 ? features & ~NET_FEATURE.HOST_USO : features;
}
