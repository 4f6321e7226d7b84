import { FEATURE } from '@rxvhost/core';
import fc from 'fast-check';
import {
  CONFIG,
  DEVICE_STATE,
  INFLIGHT,
  IOTLB,
  LOG,
  MAC_ADDRESS,
  MEMORY_TABLE,
  NUMBER,
  protocolFeatures,
  type RegionDescription,
  SINGLE_REGION,
  U64,
  VHOST_USER_F_PROTOCOL_FEATURES,
  VRING_ADDRESS,
  VRING_FD,
  VRING_STATE,
} from '../../src/index.js';
import { GUEST_BASE, MEMORY_SIZE, USER_BASE } from './bench.js';

/** What a message's descriptors are made of. */
export type FdKind = 'event' | 'memory' | 'directory' | 'socket';

const index = fc.oneof(
  { weight: 8, arbitrary: fc.constantFrom(0, 1) },
  { weight: 1, arbitrary: fc.constantFrom(2, 255, 0xffff_ffff) },
);
const page = fc.integer({ min: 0, max: 300 }).map((number) => number * 4096);
export const wholeRegion = {
  guestAddress: GUEST_BASE,
  userAddress: USER_BASE,
  size: MEMORY_SIZE,
  mmapOffset: 0,
};
export const region: fc.Arbitrary<RegionDescription> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.constant(wholeRegion),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      guestAddress: page,
      userAddress: page.map((offset) => USER_BASE + offset),
      size: page,
      mmapOffset: page,
    }),
  },
);
const ringOffset = fc.constantFrom(0, 0x1000, 0x4000, 0x5001, 0x5002, 0x8000, 2 * MEMORY_SIZE);
const userAddress = ringOffset.map((offset) => USER_BASE + offset);
export const NOTHING = new Uint8Array(0);
/** What both kinds of device offer, but for what changes the meaning of everything else. */
export const OFFERED = protocolFeatures(
  'MQ',
  'LOG_SHMFD',
  'REPLY_ACK',
  'BACKEND_REQ',
  'CROSS_ENDIAN',
  'CONFIG',
  'MTU',
  'RESET_DEVICE',
  'CONFIGURE_MEM_SLOTS',
  'STATUS',
  'DEVICE_STATE',
);
/** What a device that notes what is in flight offers besides, with kicks and calls as messages. */
export const MORE = OFFERED | protocolFeatures('INBAND_NOTIFICATIONS', 'INFLIGHT_SHMFD');

function state(num: fc.Arbitrary<number>): fc.Arbitrary<Uint8Array> {
  return fc.record({ index, num }).map((value) => VRING_STATE.encode(value));
}

const ringFd = fc
  .record({ index: index.map((number) => number & 0xff), hasFd: fc.boolean() })
  .map((value) => ({ payload: VRING_FD.encode(value), fds: events(value.hasFd ? 1 : 0) }));

function events(count: number): FdKind[] {
  return Array.from({ length: count }, () => 'event');
}

function plain(id: number, payload: fc.Arbitrary<Uint8Array> = fc.constant(NOTHING)) {
  return payload.map((bytes) => ({ id, payload: bytes, fds: [] as FdKind[] }));
}

function withFds(id: number, payload: fc.Arbitrary<Uint8Array>, fds: readonly FdKind[]) {
  return payload.map((bytes) => ({ id, payload: bytes, fds: [...fds] }));
}

/** Requests that the protocol got later, and those that are never served. */
const later = fc.oneof(
  withFds(
    6,
    fc
      .record({
        mmapSize: fc.constantFrom(0, 64, MEMORY_SIZE, 2 * MEMORY_SIZE),
        mmapOffset: fc.constantFrom(0, 100, 4096),
      })
      .map((value) => LOG.encode(value)),
    ['memory'],
  ),
  withFds(7, fc.constant(NOTHING), ['event']),
  plain(
    19,
    fc.uint8Array({ minLength: 6, maxLength: 6 }).map((mac) => MAC_ADDRESS.encode(mac)),
  ),
  plain(
    20,
    fc.constantFrom(0, 68, 1500, 65536).map((mtu) => NUMBER.encode(mtu)),
  ),
  plain(23, state(fc.constantFrom(0, 0, 0, 1, 2))),
  plain(31, inflight()),
  withFds(32, inflight(), ['memory']),
  plain(35, state(fc.constantFrom(0, 0, 0, 1))),
  plain(
    39,
    fc.constantFrom(0, 1, 15, 256).map((status) => NUMBER.encode(status)),
  ),
  withFds(
    42,
    fc
      .record({ direction: fc.constantFrom(0, 1, 1, 2), phase: fc.constantFrom(0, 0, 0, 1) })
      .map((value) => DEVICE_STATE.encode(value)),
    ['socket'],
  ),
  plain(43),
  fc
    .record({
      id: fc.constantFrom(26, 27, 28, 29, 30, 33, 41, 44),
      payload: fc.uint8Array({ maxLength: 16 }),
    })
    .map((message) => ({ ...message, fds: [] as FdKind[] })),
);

function inflight() {
  return fc
    .record({
      mmapSize: fc.constantFrom(0, 4160, 8320, MEMORY_SIZE),
      mmapOffset: fc.constantFrom(0, 0, 64, 4096, 4),
      queueCount: fc.constantFrom(0, 1, 2, 2, 3, 0xffff),
      queueSize: fc.constantFrom(0, 1, 64, 256, 0xffff),
    })
    .map((value) => INFLIGHT.encode(value));
}

/** Requests as a front-end would send them, more or less. */
export const sensible = fc.oneof(
  later,
  plain(
    2,
    fc
      .constantFrom(
        0n,
        1n << 32n,
        FEATURE.VERSION_1 | FEATURE.IOMMU_PLATFORM,
        FEATURE.VERSION_1 | FEATURE.LOG_ALL,
        FEATURE.VERSION_1 | FEATURE.RING_PACKED,
        VHOST_USER_F_PROTOCOL_FEATURES | (1n << 32n),
        1n << 60n,
      )
      .map((features) => U64.encode(features)),
  ),
  plain(
    16,
    fc
      .constantFrom(
        OFFERED,
        MORE,
        OFFERED | protocolFeatures('GPA_ADDRESSES'),
        protocolFeatures('REPLY_ACK'),
        protocolFeatures('INBAND_NOTIFICATIONS'),
        protocolFeatures('SHMEM'),
      )
      .map((features) => U64.encode(features)),
  ),
  plain(8, state(fc.constantFrom(0, 1, 3, 64, 256, 1024, 65536))),
  plain(10, state(fc.constantFrom(0, 1, 65535, 65536))),
  plain(11, state(fc.constant(0))),
  plain(18, state(fc.constantFrom(0, 1, 1, 1, 2))),
  plain(
    9,
    fc
      .record({
        index,
        flags: fc.constantFrom(0, 0, 0, 1, 2),
        descriptorTable: userAddress,
        usedRing: userAddress,
        availableRing: userAddress,
        logAddress: fc.constantFrom(0n, 2n ** 64n - 1n),
      })
      .map((value) => VRING_ADDRESS.encode(value)),
  ),
  fc
    .record({ id: fc.constantFrom(12, 13, 14), ring: ringFd })
    .map(({ id, ring }) => ({ id, ...ring })),
  fc.array(region, { maxLength: 9 }).map((regions) => ({
    id: 5,
    payload: MEMORY_TABLE.encode(regions),
    fds: regions.map((): FdKind => 'memory'),
  })),
  region.map((value) => ({
    id: 37,
    payload: SINGLE_REGION.encode(value),
    fds: ['memory'] as FdKind[],
  })),
  plain(
    38,
    region.map((value) => SINGLE_REGION.encode(value)),
  ),
  plain(
    24,
    fc
      .record({ offset: fc.nat(20), flags: fc.nat(2), bytes: fc.uint8Array({ maxLength: 20 }) })
      .map((value) => CONFIG.encode(value)),
  ),
  plain(
    22,
    fc
      .record({
        address: fc.constantFrom(0n, BigInt(USER_BASE), 2n ** 53n, 2n ** 64n - 1n),
        size: fc.constantFrom(0n, 1n, 0x1_0000n, 2n ** 64n - 1n),
        userAddress: fc.constantFrom(0n, BigInt(USER_BASE), 2n ** 64n - 1n),
        access: fc.nat(4),
        type: fc.nat(6),
      })
      .map((value) => IOTLB.encode(value)),
  ),
  fc.constantFrom<FdKind>('event', 'directory', 'socket', 'socket').map((kind) => ({
    id: 21,
    payload: NOTHING,
    fds: [kind],
  })),
  fc.constantFrom(1, 3, 4, 15, 17, 34, 36, 40).map((id) => ({
    id,
    payload: NOTHING,
    fds: [] as FdKind[],
  })),
);
