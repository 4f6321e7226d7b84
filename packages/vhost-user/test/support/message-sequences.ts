import fc from 'fast-check';
import {
  FLAG_NEED_REPLY,
  HEADER,
  SINGLE_REGION,
  U64,
  VERSION,
  VRING_ADDRESS,
  VRING_FD,
  VRING_STATE,
} from '../../src/index.js';
import { USER_BASE } from './bench.js';
import { type FdKind, MORE, OFFERED, sensible, wholeRegion } from './random-requests.js';

/** A message, or what might be taken for one. */
export interface RandomMessage {
  readonly bytes: Uint8Array;
  readonly fds: readonly FdKind[];
}

const flags = fc.oneof(
  { weight: 20, arbitrary: fc.constant(VERSION) },
  { weight: 60, arbitrary: fc.constant(VERSION | FLAG_NEED_REPLY) },
  { weight: 1, arbitrary: fc.integer({ min: 0, max: 15 }) },
);

const wellFormed: fc.Arbitrary<RandomMessage> = fc
  .record({ flags, message: sensible })
  .map(({ flags, message: { id, payload, fds } }) => ({ bytes: frame(id, flags, payload), fds }));

const strayFds = fc.array(fc.constantFrom<FdKind>('event', 'memory', 'directory', 'socket'), {
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
const negotiation = (features: bigint): readonly RandomMessage[] => [
  { bytes: frame(16, VERSION, U64.encode(features)), fds: [] },
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
const running = (features: bigint): readonly RandomMessage[] => [
  ...negotiation(features),
  { bytes: frame(37, VERSION, SINGLE_REGION.encode(wholeRegion)), fds: ['memory'] },
  { bytes: frame(8, VERSION, VRING_STATE.encode({ index: 0, num: 256 })), fds: [] },
  { bytes: frame(9, VERSION, VRING_ADDRESS.encode(ring)), fds: [] },
  { bytes: frame(12, VERSION, VRING_FD.encode({ index: 0, hasFd: true })), fds: ['event'] },
];
/** What a front-end of no good will may send on one connection. */
export const messageSequence = fc
  .record({
    start: fc.constantFrom(
      running(OFFERED),
      running(OFFERED),
      running(MORE),
      negotiation(OFFERED),
      negotiation(MORE),
      [],
    ),
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
