import fc from 'fast-check';
import t from 'tap';
import type { ChainForm } from './support/model-guest.js';
import { ModelNic, type ModelOptions } from './support/model-nic.js';
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

// Hundreds of runs: a busy machine needs its time.
t.setTimeout(120_000);

const form = fc.constantFrom<ChainForm>('single', 'split', 'indirect');
const queue = fc.constantFrom(0, 1);
const frameLength = fc.oneof(
  fc.integer({ min: 14, max: 60 }),
  fc.integer({ min: 250, max: 260 }),
  fc.constantFrom(REFUSED_LENGTH, 1500),
);
const text = (value: unknown) => JSON.stringify(value);

const offerFrames = fc
  .tuple(fc.array(fc.tuple(form, frameLength), { minLength: 1, maxLength: 6 }), fc.boolean())
  .map(
    ([frames, force]) =>
      new Step(`send ${text(frames)} kick ${force}`, (nic) => {
        for (const [form, length] of frames) nic.offerFrame(form, length);
        nic.kick(force);
      }),
  );
const offerBuffers = fc
  .tuple(
    fc.array(fc.tuple(form, fc.constantFrom(250, 600, 1600)), { minLength: 1, maxLength: 8 }),
    fc.boolean(),
  )
  .map(
    ([buffers, force]) =>
      new Step(`buffers ${text(buffers)} kick ${force}`, (nic) => {
        for (const [form, length] of buffers) nic.offerBuffer(form, length);
        nic.kick(force);
      }),
  );
const inject = fc
  .tuple(fc.array(fc.integer({ min: 14, max: 1500 }), { minLength: 1, maxLength: 6 }), fc.nat(1))
  .map(
    ([lengths, which]) =>
      new Step(`arrive ${text(lengths)} at ${which}`, (nic) => {
        for (const length of lengths)
          nic.sockets[which as 0 | 1].inject(nic.ledger.nextFrame(length));
      }),
  );
const room = fc.tuple(fc.constantFrom(0, 1, 3, 1000), fc.nat(1)).map(
  ([frames, which]) =>
    new Step(`room ${frames} in ${which}`, (nic) => {
      nic.sockets[which as 0 | 1].room = frames;
    }),
);
const complete = fc
  .tuple(fc.array(fc.nat(20), { minLength: 1, maxLength: 8 }), fc.boolean(), fc.nat(1))
  .map(
    ([picks, ok, which]) =>
      new Step(`complete ${text(picks)} ${ok} in ${which}`, (nic) =>
        nic.sockets[which as 0 | 1].complete(picks, ok),
      ),
  );
const stray = fc
  .tuple(fc.nat(5000), fc.nat(1))
  .map(
    ([ticket, which]) =>
      new Step(`stray completion ${ticket} in ${which}`, (nic) =>
        nic.sockets[which as 0 | 1].completeStray(ticket),
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
const setBackend = fc
  .tuple(queue, fc.constantFrom(0, 1, undefined))
  .map(
    ([index, which]) =>
      new Step(`backend of ${index} is ${which}`, (nic) =>
        nic.setBackend(index, which === undefined ? undefined : nic.sockets[which as 0 | 1]),
      ),
  );
const run = fc
  .tuple(queue, fc.constantFrom('running', 'discarding', 'stopped'))
  .map(([index, mode]) => new Step(`queue ${index} ${mode}`, (nic) => nic.run(index, mode)));
const setFeatures = fc.tuple(fc.boolean(), fc.boolean()).map(
  ([eventIndex, mergeable]) =>
    new Step(
      `features: event index ${eventIndex}, mergeable ${mergeable}`,
      (nic) => nic.setFeatures(eventIndex, mergeable),
      // Another length of header would change what the chains in the ring mean.
      (nic) => nic.options.version1 || nic.mergeable === mergeable || nic.transmit.pending === 0,
    ),
);
const reset = fc
  .tuple(fc.boolean(), fc.boolean())
  .map(
    ([eventIndex, mergeable]) =>
      new Step(`reset: event index ${eventIndex}, mergeable ${mergeable}`, (nic) =>
        nic.reset(eventIndex, mergeable),
      ),
  );

const options: fc.Arbitrary<ModelOptions> = fc.record({
  version1: fc.boolean(),
  carriesHeader: fc.boolean(),
  zeroCopy: fc.boolean(),
  base: fc.constantFrom(0, 0xfff8),
});
const steps = fc.commands(
  [
    ...[offerFrames, offerBuffers, inject, room, complete, turns, settle],
    ...[stray, microtasks, kick, setBackend, run, setFeatures, reset],
  ],
  { maxCommands: 60, size: 'max' },
);

/** From here on everything runs as it should: all that was offered must come out. */
async function letAllOut(nic: ModelNic): Promise<void> {
  await nic.finishCalls();
  for (const index of [0, 1]) {
    nic.run(index, 'stopped');
    await nic.finishCalls();
    await nic.nic.queueSettled(index);
  }
  for (const index of [0, 1]) nic.run(index, 'running');
  for (const socket of nic.sockets) socket.room = Number.POSITIVE_INFINITY;
  for (let round = 0; round < 50; round += 1) {
    for (let n = 0; n < 8; n += 1) nic.offerBuffer('single', 1600);
    nic.kick(false);
    await nic.finishCalls();
    for (const socket of nic.sockets) socket.complete(Array<number>(256).fill(0), true);
    nic.turns.settle();
    nic.driver();
  }
  nic.ledger.checkSettled();
}

t.test(
  'C4 C7 C11 C13 in any interleaving no frame is lost, doubled or out of order, and each is used once',
  async (t) => {
    const seen = { copied: 0, byReference: 0, refused: 0, discarded: 0, oversized: 0, received: 0 };
    await fc.assert(
      fc.asyncProperty(options, steps, async (options, steps) => {
        const nic = new ModelNic(options);
        await fc.asyncModelRun(() => ({ model: {}, real: nic }), steps);
        await letAllOut(nic);
        const { ledger, sockets } = nic;
        if (sockets[0].toReceive.length > 0) throw new Error('frames wait and are not received');
        if (nic.faults.length > 0) throw new Error(nic.faults.join('; '));
        const { queues } = nic.nic.statistics();
        const { copied, byReference, refused, discarded, oversized, received } = ledger.counts;
        const counted = [
          queues[1]?.frames,
          queues[1]?.drops.refused,
          queues[1]?.drops.disabled,
          queues[0]?.frames,
          queues[0]?.drops.oversized,
        ];
        const expected = [copied + byReference, refused, discarded, received, oversized];
        if (counted.join() !== expected.join())
          throw new Error(`counters ${counted}, not ${expected}`);
        nic.pending.push(nic.nic.close());
        await nic.finishCalls();
        if (sockets[0].closed !== 1)
          throw new Error(`the backend was closed ${sockets[0].closed} times`);
        for (const { ring } of [nic.receive, nic.transmit]) {
          if (ring.released !== nic.setUps)
            throw new Error(`memory was released ${ring.released} times`);
        }
        for (const key of Object.keys(seen) as (keyof typeof seen)[])
          seen[key] += ledger.counts[key];
      }),
      { numRuns: Number(process.env['RXVHOST_INTERLEAVINGS'] ?? 300) },
    );
    t.ok(
      Object.values(seen).every((count) => count > 100),
      `everything occurs: ${text(seen)}`,
    );
  },
);
