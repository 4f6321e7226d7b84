import fc from 'fast-check';
import {
  CONFIG,
  FLAG_NEED_REPLY,
  HEADER,
  IOTLB,
  MEMORY_TABLE,
  protocolFeatures,
  type RegionDescription,
  SINGLE_REGION,
  U64,
  VERSION,
  VHOST_USER_F_PROTOCOL_FEATURES,
  VRING_ADDRESS,
  VRING_FD,
  VRING_STATE,
} from '../../src/index.js';
import { GUEST_BASE, MEMORY_SIZE, USER_BASE } from './bench.js';

/** What a message's descriptors are made of. */
export type FdKind = 'event' | 'memory' | 'directory';

/** A message, or what might be taken for one. */
export interface RandomMessage {
  readonly bytes: Uint8Array;
  readonly fds: readonly FdKind[];
}

const index = fc.oneof(
  { weight: 8, arbitrary: fc.constantFrom(0, 1) },
  { weight: 1, arbitrary: fc.constantFrom(2, 255, 0xffff_ffff) },
);
const page = fc.integer({ min: 0, max: 300 }).map((number) => number * 4096);
const wholeRegion = {
  guestAddress: GUEST_BASE,
  userAddress: USER_BASE,
  size: MEMORY_SIZE,
  mmapOffset: 0,
};
const region: fc.Arbitrary<RegionDescription> = fc.oneof(
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
const OFFERED = protocolFeatures(
  'MQ',
  'REPLY_ACK',
  'BACKEND_REQ',
  'CONFIG',
  'MTU',
  'RESET_DEVICE',
  'CONFIGURE_MEM_SLOTS',
  'STATUS',
);

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

/** Requests as a front-end would send them, more or less. */
const sensible = fc.oneof(
  plain(
    2,
    fc
      .constantFrom(
        0n,
        1n << 32n,
        3n << 32n,
        VHOST_USER_F_PROTOCOL_FEATURES | (1n << 32n),
        1n << 60n,
      )
      .map((features) => U64.encode(features)),
  ),
  plain(
    16,
    fc
      .constantFrom(OFFERED, OFFERED, protocolFeatures('REPLY_ACK'), 1n << 22n)
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
  fc.constantFrom<FdKind>('event', 'directory').map((kind) => ({
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

const flags = fc.oneof(
  { weight: 20, arbitrary: fc.constant(VERSION) },
  { weight: 60, arbitrary: fc.constant(VERSION | FLAG_NEED_REPLY) },
  { weight: 1, arbitrary: fc.integer({ min: 0, max: 15 }) },
);

const wellFormed: fc.Arbitrary<RandomMessage> = fc
  .record({ flags, message: sensible })
  .map(({ flags, message: { id, payload, fds } }) => ({ bytes: frame(id, flags, payload), fds }));

const strayFds = fc.array(fc.constantFrom<FdKind>('event', 'memory', 'directory'), {
  maxLength: 10,
});

const withWrongFds: fc.Arbitrary<RandomMessage> = fc
  .record({ message: wellFormed, fds: strayFds })
  .map(({ message, fds }) => ({ ...message, fds }));

const withWrongPayload: fc.Arbitrary<RandomMessage> = fc
  .record({
    id: fc.integer({ min: 0, max: 50 }),
    flags,
    payload: fc.uint8Array({ maxLength: 300 }),
    fds: strayFds,
  })
  .map(({ id, flags, payload, fds }) => ({ bytes: frame(id, flags, payload), fds }));

const noise: fc.Arbitrary<RandomMessage> = fc.record({
  bytes: fc.uint8Array({ minLength: 1, maxLength: 40 }),
  fds: strayFds,
});

/** Most sequences begin as a front-end does, so that the gates are open to what follows. */
const negotiation: readonly RandomMessage[] = [
  { bytes: frame(16, VERSION, U64.encode(OFFERED)), fds: [] },
  { bytes: frame(2, VERSION, U64.encode(1n << 32n)), fds: [] },
];
const ring = {
  index: 0,
  flags: 0,
  descriptorTable: USER_BASE,
  usedRing: USER_BASE + 0x8000,
  availableRing: USER_BASE + 0x4000,
  logAddress: 0n,
};
/** And half of those that do have a ring that runs when the rest comes. */
const running: readonly RandomMessage[] = [
  ...negotiation,
  { bytes: frame(37, VERSION, SINGLE_REGION.encode(wholeRegion)), fds: ['memory'] },
  { bytes: frame(8, VERSION, VRING_STATE.encode({ index: 0, num: 256 })), fds: [] },
  { bytes: frame(9, VERSION, VRING_ADDRESS.encode(ring)), fds: [] },
  { bytes: frame(12, VERSION, VRING_FD.encode({ index: 0, hasFd: true })), fds: ['event'] },
];
/** What a front-end of no good will may send on one connection. */
export const messageSequence = fc
  .record({
    start: fc.constantFrom(running, running, negotiation, []),
    rest: fc.array(
      fc.oneof(
        { weight: 60, arbitrary: wellFormed },
        { weight: 3, arbitrary: withWrongFds },
        { weight: 2, arbitrary: withWrongPayload },
        { weight: 1, arbitrary: noise },
      ),
      { minLength: 1, maxLength: 60, size: 'max' },
    ),
  })
  .map(({ start, rest }) => [...start, ...rest]);

/** A message's bytes. */
export function frame(request: number, flags: number, payload: Uint8Array): Uint8Array {
  return Buffer.concat([HEADER.encode({ request, flags, size: payload.length }), payload]);
}
