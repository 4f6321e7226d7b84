import { FEATURE, INITIAL_PACKED_BASE, type VringAddresses } from '@rxvhost/core';
import type { RegionDescription } from '../protocol/payloads.js';

/** A message put together by hand. */
export interface RawRequest {
  readonly request: number;
  /** Version 1 and no flags by default. */
  readonly flags?: number;
  readonly payload?: Uint8Array;
  readonly fds?: readonly number[];
  /** Whether the back-end will answer. */
  readonly expectReply: boolean;
}

/** What to accept of what a back-end offers. */
export interface HandshakeOptions {
  /** Virtio features wanted; those not offered are left out. */
  readonly features: bigint;
  /** Protocol features wanted; all that this client knows by default. */
  readonly protocolFeatures?: bigint;
}

/** What both sides agreed on. */
export interface Agreement {
  readonly offeredFeatures: bigint;
  readonly features: bigint;
  readonly protocolFeatures: bigint;
  /** Queue pairs of a NIC, queues of other devices; undefined without MQ. */
  readonly queues: number | undefined;
}

/** A piece of a file that becomes guest memory. */
export interface SharedRegion {
  readonly guestAddress: number;
  readonly userAddress: number;
  readonly size: number;
  /** A memfd or another file of shared memory; the caller keeps it. */
  readonly fd: number;
  /** Where in the file the region begins, in bytes, a multiple of 4096; 0 by default. */
  readonly offset?: number;
}

/** The region as a message tells it. */
export function describeRegion({
  guestAddress,
  userAddress,
  size,
  offset = 0,
}: SharedRegion): RegionDescription {
  return { guestAddress, userAddress, size, mmapOffset: offset };
}

/** An eventfd; or messages, where INBAND_NOTIFICATIONS was negotiated. */
export type QueueEvent = { readonly fd: number } | 'in-band';

/** Everything that starts a queue. Event descriptors stay the caller's. */
export interface QueueSetup {
  /** Entries, a power of two for a split ring. */
  readonly size: number;
  /** Where to go on; where an unused ring begins by default. */
  readonly base?: number;
  readonly addresses: VringAddresses;
  /** Raised by the guest; undefined makes the back-end poll. */
  readonly kick: QueueEvent | undefined;
  /** Raised by the device; undefined makes the guest poll. */
  readonly call: QueueEvent | undefined;
  readonly error?: { readonly fd: number };
}

/** The base of a ring that nobody has used, in the layout that was negotiated. */
export function unusedBase(features: bigint): number {
  return (features & FEATURE.RING_PACKED) === 0n ? 0 : INITIAL_PACKED_BASE;
}
