import type { BackendChain } from '../backend/backend-provider.js';
import type { PacketSocket } from '../backend/packet-socket.js';
import {
  COMMON_FEATURES,
  memoryFeatures,
  offeredRings,
  type RingSwitches,
} from '../device/features.js';
import type { VhostDeviceOptions } from '../device/vhost-device-options.js';
import { CONTROL_FEATURES } from './control/control-queues.js';
import { NET_FEATURE } from './net-features.js';
import { type OffloadSwitches, offeredOffloads } from './offload/offload-features.js';

/** The most queue pairs of one NIC. */
export const MAX_QUEUE_PAIRS = 16;

/** How a NIC is made. */
export interface VhostNetOptions extends VhostDeviceOptions {
  /** What queue pair `k` is attached to when a transport runs it; one entry for each pair, 1 … 16. */
  readonly backends?: PacketSocket | readonly PacketSocket[];
  /** Asked by {@link VhostNet.setBackend} when it is given an fd. */
  readonly providers?: BackendChain;
  /** 6 bytes, not multicast. Left out: the front-end or the guest chooses. */
  readonly mac?: Uint8Array;
  /** Largest packet without its Ethernet header, 68 … 65535. Left out: the guest's default. */
  readonly mtu?: number;
  /** Checksum and segmentation offloads to offer or not; see {@link OffloadSwitches}. */
  readonly offloads?: OffloadSwitches;
  /** Ways to use a ring to offer or not, each `true` unless set: packed, in order, reset by itself. */
  readonly rings?: RingSwitches;
  /**
   * Offer a control queue, and what is asked for through it: receive modes, filters, the MAC address,
   * offloads, announcements, and with several pairs steering by hash (RSS). `false` unless set: most
   * front-ends keep the control queue to themselves.
   */
  readonly controlQueue?: boolean;
  /** Send long frames by reference on backends that can (seed C11); `true` unless set. */
  readonly zeroCopy?: boolean;
  /**
   * Milliseconds to wait, when a queue stops, for frames that a backend has not completed; then they
   * are given up with a fault. 3000 unless set.
   */
  readonly drainTimeout?: number;
}

/** The feature bits that a NIC with these options offers. Throws as {@link offeredOffloads}. */
export function offeredNetFeatures(
  options: VhostNetOptions,
  backends: readonly PacketSocket[],
): bigint {
  const many = backends.length > 1;
  const { mac, mtu, offloads = {}, rings = {}, controlQueue = false } = options;
  return (
    COMMON_FEATURES |
    memoryFeatures(options) |
    offeredRings(rings) |
    NET_FEATURE.MRG_RXBUF |
    NET_FEATURE.VHOST_NET_HEADER |
    offeredOffloads(offloads, backends) |
    (many ? NET_FEATURE.MQ | NET_FEATURE.CTRL_VQ : 0n) |
    (controlQueue ? CONTROL_FEATURES : 0n) |
    (controlQueue && many ? NET_FEATURE.RSS : 0n) |
    (controlQueue && backends.every(takesHash) ? NET_FEATURE.HASH_REPORT : 0n) |
    (mac === undefined ? 0n : NET_FEATURE.MAC) |
    (mtu === undefined ? 0n : NET_FEATURE.MTU)
  );
}

/** Whether a header with a hash can stand before a backend's frames: the backend's own, or ours. */
function takesHash(backend: PacketSocket): boolean {
  return backend.headerLength === 0 || backend.takesHash === true;
}
