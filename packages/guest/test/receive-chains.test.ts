/** Mergeable receive buffers of any length of chain, and frames of any size through them. */
import { FEATURE, NET_FEATURE } from '@rxvhost/core';
import fc from 'fast-check';
import t from 'tap';
import { assembled, until } from './support/nics.js';
import { RecordingSocket } from './support/recording-socket.js';

t.setTimeout(120_000);

const HEADER = 12;
/** The largest frame with a header that a backend gives: a 64 KiB segment. */
const LARGEST = 65_562 - HEADER;
/** The most chains of one batch, and so of one frame. */
const MOST_CHAINS = 256;

/** A driver that keeps its receive ring as full as it will go, with chains that are all alike. */
interface Receiver {
  readonly queueSize: number;
  readonly descriptorsPerChain: number;
  readonly chainLength: number;
  readonly indirect: boolean;
  readonly eventIndex: boolean;
}

const chain = fc.record({
  descriptorsPerChain: fc.integer({ min: 1, max: 16 }),
  chainLength: fc.oneof(
    fc.integer({ min: HEADER + 16, max: 700 }),
    fc.integer({ min: 700, max: 9000 }),
    fc.constantFrom(1526, 4096, LARGEST + HEADER),
  ),
  indirect: fc.boolean(),
  eventIndex: fc.boolean(),
});
const lengths = fc.array(
  fc.oneof(fc.integer({ min: 14, max: 1514 }), fc.integer({ min: 14, max: LARGEST })),
  { minLength: 1, maxLength: 12 },
);

/** Bytes of the largest frame that the ring can hold, however long one waits. */
function capacity({ queueSize, descriptorsPerChain, chainLength, indirect }: Receiver): number {
  const chains = Math.floor(queueSize / (indirect ? 1 : descriptorsPerChain));
  return Math.min(chains, MOST_CHAINS) * chainLength - HEADER;
}

/** Gives the guest these frames; the lengths of those that it got, once nothing more waits. */
async function receive(receiver: Receiver, rings: bigint, lengths: readonly number[]) {
  const { queueSize, descriptorsPerChain, chainLength, indirect, eventIndex } = receiver;
  const socket = new RecordingSocket();
  const { nic, device, close } = assembled(socket, {
    features:
      FEATURE.VERSION_1 |
      NET_FEATURE.MRG_RXBUF |
      (indirect ? FEATURE.INDIRECT_DESC : 0n) |
      (eventIndex ? FEATURE.EVENT_IDX : 0n) |
      rings,
    queueSize,
    indirect,
    indirectEntries: 16,
    receiveBufferLength: chainLength,
    receiveShape: { headerDescriptors: 0, frameDescriptors: descriptorsPerChain },
  });
  const received: number[] = [];
  let intact = true;
  nic.driver.frames$.subscribe((batch) => {
    for (const frame of batch) {
      const [number] = frame;
      intact &&= frame.every((byte) => byte === number);
      intact &&= lengths[number as number] === frame.length;
      received.push(frame.length);
    }
  });
  nic.start();
  const counters = () => device.statistics().queues[0];
  try {
    socket.feed(...lengths.map((length, number) => new Uint8Array(length).fill(number)));
    const dropped = () => counters()?.drops.oversized ?? 0;
    await until(() => received.length + dropped() === lengths.length, 60_000);
    return { received, dropped: dropped(), errors: counters()?.errors, intact };
  } finally {
    await close();
  }
}

for (const [name, rings, sizes] of [
  ['split', 0n, fc.constantFrom(16, 64)],
  ['packed', FEATURE.RING_PACKED, fc.integer({ min: 16, max: 70 })],
] as const) {
  t.test(
    `C6 C7 T50 on a ${name} ring each frame that all buffers together can hold arrives, every other is dropped and counted`,
    async (t) => {
      const seen = { received: 0, dropped: 0 };
      await fc.assert(
        fc.asyncProperty(chain, sizes, lengths, async (chain, queueSize, lengths) => {
          const receiver = { ...chain, queueSize };
          const expected = lengths.filter((length) => length <= capacity(receiver));
          const { received, dropped, errors, intact } = await receive(receiver, rings, lengths);
          if (errors !== 0 || !intact) throw new Error(`${errors} errors, intact: ${intact}`);
          if (received.join() !== expected.join()) throw new Error(`received ${received}`);
          seen.received += received.length;
          seen.dropped += dropped;
        }),
        { numRuns: 200 },
      );
      t.ok(seen.received > 200 && seen.dropped > 50, `both occur: ${JSON.stringify(seen)}`);
    },
  );
}
