import fc from 'fast-check';
import t from 'tap';
import type { ChainForm } from './support/model-guest.js';
import { ModelNic, type ModelOptions } from './support/model-nic.js';
import type { ModelPair } from './support/model-pair.js';
import type { ModelStart } from './support/model-ring.js';
import { REFUSED_LENGTH } from './support/model-socket.js';

/** The state is in the ledger of the NIC under test: the model that fast-check keeps is empty. */
type Model = Record<string, never>;

/** One thing that somebody does. What must hold after it, the ledger checks. */
class Step implements fc.AsyncCommand<Model, ModelNic> {
  constructor(
    readonly name: string,
    readonly action: (nic: ModelNic) => void | Promise<void>,
    readonly allowed: (nic: ModelNic) => boolean = () => true,
  ) {}

  check(): boolean {
    return true;
  }

  async run(_model: Model, nic: ModelNic): Promise<void> {
    if (!this.allowed(nic)) return;
    await this.action(nic);
    nic.driver();
  }

  toString(): string {
    return this.name;
  }
}

/** For each layout; more for a long run. */
const INTERLEAVINGS = Number(process.env['RXVHOST_INTERLEAVINGS'] ?? 300);
// A busy machine needs its time.
t.setTimeout(Math.max(120_000, INTERLEAVINGS * 200));

const form = fc.constantFrom<ChainForm>('single', 'split', 'indirect');
const pair = fc.nat(1);
const which = fc.constantFrom<0 | 1>(0, 1);
const frameLength = fc.oneof(
  fc.integer({ min: 14, max: 60 }),
  fc.integer({ min: 250, max: 260 }),
  fc.constantFrom(REFUSED_LENGTH, 1500),
);
const text = (value: unknown) => JSON.stringify(value);

const offerFrames = fc
  .tuple(
    pair,
    fc.array(fc.tuple(form, frameLength, fc.boolean()), { minLength: 1, maxLength: 6 }),
    fc.boolean(),
  )
  .map(
    ([pair, frames, force]) =>
      new Step(`send ${text(frames)} on ${pair} kick ${force}`, (nic) => {
        for (const [form, length, unfinished] of frames) {
          nic.pair(pair).offerFrame(form, length, unfinished, nic.rules);
        }
        nic.kick(force);
      }),
  );
const offerBuffers = fc
  .tuple(
    pair,
    fc.array(fc.tuple(form, fc.constantFrom(250, 600, 1600)), { minLength: 1, maxLength: 8 }),
    fc.boolean(),
  )
  .map(
    ([pair, buffers, force]) =>
      new Step(`buffers ${text(buffers)} on ${pair} kick ${force}`, (nic) => {
        for (const [form, length] of buffers) nic.pair(pair).offerBuffer(form, length);
        nic.kick(force);
      }),
  );
const inject = fc
  .tuple(
    pair,
    fc.array(fc.integer({ min: 14, max: 1500 }), { minLength: 1, maxLength: 6 }),
    fc.boolean(),
    which,
  )
  .map(
    ([pair, lengths, verified, which]) =>
      new Step(`arrive ${text(lengths)} verified ${verified} at ${pair}.${which}`, (nic) => {
        const { ledger, sockets } = nic.pair(pair);
        for (const length of lengths) sockets[which].inject(ledger.nextFrame(length), verified);
      }),
  );
const room = fc.tuple(fc.constantFrom(0, 1, 3, 1000), pair, which).map(
  ([frames, pair, which]) =>
    new Step(`room ${frames} in ${pair}.${which}`, (nic) => {
      nic.pair(pair).sockets[which].room = frames;
    }),
);
const complete = fc
  .tuple(fc.array(fc.nat(20), { minLength: 1, maxLength: 8 }), fc.boolean(), pair, which)
  .map(
    ([picks, ok, pair, which]) =>
      new Step(`complete ${text(picks)} ${ok} in ${pair}.${which}`, (nic) =>
        nic.pair(pair).sockets[which].complete(picks, ok),
      ),
  );
const stray = fc
  .tuple(fc.nat(5000), pair, which)
  .map(
    ([ticket, pair, which]) =>
      new Step(`stray completion ${ticket} in ${pair}.${which}`, (nic) =>
        nic.pair(pair).sockets[which].completeStray(ticket),
      ),
  );
const turns = fc.integer({ min: 1, max: 4 }).map(
  (count) =>
    new Step(`${count} turns`, (nic) => {
      for (let n = 0; n < count; n += 1) nic.turns.turn();
    }),
);
const settle = fc.constant(new Step('settle', (nic) => nic.turns.settle()));
const microtasks = fc.constant(new Step('microtasks', () => Promise.resolve()));
const kick = fc.constant(new Step('kick', (nic) => nic.kick(true)));
const queue = fc.tuple(pair, which);
const setBackend = fc.tuple(queue, fc.constantFrom(0, 1, undefined)).map(
  ([[pair, side], which]) =>
    new Step(`backend of ${pair}.${side} is ${which}`, (nic) => {
      const { queues, sockets } = nic.pair(pair);
      const socket = which === undefined ? undefined : sockets[which as 0 | 1];
      nic.setBackend(queues[side].index, socket);
    }),
);
const run = fc
  .tuple(queue, fc.constantFrom('running', 'discarding', 'stopped'))
  .map(
    ([[pair, side], mode]) =>
      new Step(`queue ${pair}.${side} ${mode}`, (nic) =>
        nic.run(nic.pair(pair).queues[side].index, mode),
      ),
  );
const features = fc.record({ eventIndex: fc.boolean(), mergeable: fc.boolean() });
const setFeatures = features.map(
  (features) =>
    new Step(
      `features ${text(features)}`,
      (nic) => nic.setFeatures(features),
      // Another length of header would change what the chains in the ring mean.
      (nic) =>
        nic.options.version1 ||
        nic.mergeable === features.mergeable ||
        nic.pairs.every(({ transmit }) => transmit.pending === 0),
    ),
);
const logging = fc.boolean().map((on) => new Step(`logging ${on}`, (nic) => nic.setLogging(on)));
const reset = features.map(
  (features) => new Step(`reset: ${text(features)}`, (nic) => nic.reset(features)),
);

const options = (packed: boolean): fc.Arbitrary<ModelOptions> =>
  fc.record({
    packed: fc.constant(packed),
    pairs: fc.constantFrom(1, 2),
    version1: fc.boolean(),
    checksum: fc.boolean(),
    carriesHeader: fc.boolean(),
    honoursChecksum: fc.boolean(),
    zeroCopy: fc.boolean(),
    start: fc.constantFrom<ModelStart>('beginning', 'near the end'),
  });
const steps = fc.commands(
  [
    ...[offerFrames, offerBuffers, inject, room, complete, turns, settle],
    ...[stray, microtasks, kick, setBackend, run, setFeatures, logging, reset],
  ],
  { maxCommands: 60, size: 'max' },
);

/** From here on everything runs as it should: all that was offered must come out. */
async function letAllOut(nic: ModelNic): Promise<void> {
  await nic.finishCalls();
  for (const { index } of nic.queues) {
    nic.run(index, 'stopped');
    await nic.finishCalls();
    await nic.nic.queueSettled(index);
  }
  for (const { index } of nic.queues) nic.run(index, 'running');
  for (const { sockets } of nic.pairs) {
    for (const socket of sockets) socket.room = Number.POSITIVE_INFINITY;
  }
  for (let round = 0; round < 50; round += 1) {
    for (const pair of nic.pairs) for (let n = 0; n < 8; n += 1) pair.offerBuffer('single', 1600);
    nic.kick(false);
    await nic.finishCalls();
    nic.completeAll();
    nic.turns.settle();
    nic.driver();
  }
  for (const { ledger } of nic.pairs) ledger.checkSettled();
}

/** What the device has counted of a pair is what the ledger has seen. */
function checkCounters(nic: ModelNic, { index, ledger, sockets }: ModelPair): void {
  if (sockets[0].toReceive.length > 0) throw new Error('frames wait and are not received');
  const { queues } = nic.nic.statistics();
  const [receive, transmit] = [queues[2 * index], queues[2 * index + 1]];
  const { copied, byReference, refused, discarded, oversized, received } = ledger.counts;
  const counted = [
    transmit?.frames,
    transmit?.drops.refused,
    transmit?.drops.disabled,
    receive?.frames,
    receive?.drops.oversized,
  ];
  const expected = [copied + byReference, refused, discarded, received, oversized];
  if (counted.join() !== expected.join()) throw new Error(`counters ${counted}, not ${expected}`);
}

for (const packed of [false, true]) {
  t.test(
    `B8 C4 C7 C11 C13 T55 T58 in any interleaving on ${packed ? 'packed' : 'split'} rings no frame is lost, doubled or out of order, each is used once, and every write is logged`,
    async (t) => {
      const seen = {
        ...{ copied: 0, byReference: 0, refused: 0, discarded: 0, oversized: 0, received: 0 },
        ...{ completed: 0, verified: 0, logged: 0 },
      };
      await fc.assert(
        fc.asyncProperty(options(packed), steps, async (options, steps) => {
          const nic = new ModelNic(options);
          await fc.asyncModelRun(() => ({ model: {}, real: nic }), steps);
          await letAllOut(nic);
          if (nic.faults.length > 0) throw new Error(nic.faults.join('; '));
          for (const pair of nic.pairs) checkCounters(nic, pair);
          nic.pending.push(nic.nic.close());
          await nic.finishCalls();
          for (const { sockets } of nic.pairs) {
            if (sockets[0].closed !== 1)
              throw new Error(`the backend was closed ${sockets[0].closed} times`);
          }
          for (const { guest } of nic.queues) {
            if (guest.ring.released !== nic.setUps)
              throw new Error(`memory was released ${guest.ring.released} times`);
          }
          seen.logged += nic.log.checked;
          for (const { ledger } of nic.pairs) {
            for (const key of Object.keys(ledger.counts) as (keyof typeof ledger.counts)[]) {
              seen[key] += ledger.counts[key];
            }
          }
        }),
        { numRuns: INTERLEAVINGS },
      );
      t.ok(
        Object.values(seen).every((count) => count > 20),
        `everything occurs: ${text(seen)}`,
      );
    },
  );
}
