/**
 * Inflight regions: a back-end dies between any two of its stores, and the next one neither loses a
 * chain nor gives one back twice.
 */
import fc from 'fast-check';
import t from 'tap';
import { SplitInflight, splitInflightBytes } from '../src/virtqueue/inflight/split-inflight.js';
import {
  BackEnd,
  Died,
  PackedScene,
  type Scene,
  SIZE,
  SplitScene,
  type Step,
} from './support/mortal-back-end.js';

t.setTimeout(120_000);

/**
 * Plays the steps with back-ends that make `lives[0]`, `lives[1]` … stores each, and one that lives
 * on; returns how many stores the first one made.
 */
function play(makeScene: () => Scene, steps: readonly Step[], lives: readonly number[]) {
  const scene = makeScene();
  const waiting = [...lives, Number.POSITIVE_INFINITY];
  const life = { left: Number.POSITIVE_INFINITY };
  const made = { stores: 0 };
  let backEnd: BackEnd | undefined;
  const act = (step: Step) => {
    if (step.kind === 'offer') scene.offer(step.count);
    for (;;) {
      try {
        if (backEnd === undefined) {
          life.left = waiting.shift() ?? Number.POSITIVE_INFINITY;
          backEnd = new BackEnd(scene, life);
        }
        backEnd.do(step);
        return;
      } catch (error) {
        if (!(error instanceof Died)) throw error;
        backEnd = undefined;
        made.stores += 1;
      }
    }
  };
  for (const step of steps) act(step);
  // In the end everything that was offered is served; each round may end in another death.
  for (let round = 0; round <= waiting.length + lives.length; round += 1) {
    act({ kind: 'put back', count: SIZE });
    act({ kind: 'take', count: SIZE });
    act({ kind: 'complete', count: SIZE });
  }
  scene.collect();
  return { scene, deaths: made.stores };
}

const SCRIPT: readonly Step[] = [
  { kind: 'offer', count: 5 },
  { kind: 'take', count: 3 },
  { kind: 'complete', count: 1 },
  { kind: 'take', count: 2 },
  { kind: 'put back', count: 1 },
  { kind: 'complete', count: 3 },
  { kind: 'offer', count: 8 },
  { kind: 'take', count: 8 },
  { kind: 'complete', count: 4 },
  { kind: 'offer', count: 4 },
  { kind: 'take', count: 2 },
  { kind: 'complete', count: 8 },
];

const SHORT_SCRIPT: readonly Step[] = [
  { kind: 'offer', count: 2 },
  { kind: 'take', count: 2 },
  { kind: 'put back', count: 1 },
  { kind: 'complete', count: 1 },
];

const LAYOUTS = [
  ['split', () => new SplitScene()],
  ['packed', () => new PackedScene()],
] as const;

const anyStep: fc.Arbitrary<Step> = fc.record({
  kind: fc.constantFrom('offer', 'take', 'put back', 'complete'),
  count: fc.integer({ min: 1, max: SIZE }),
});

const servedOnce = ({ used, offered }: Scene) => JSON.stringify(used) === JSON.stringify(offered);

for (const [layout, makeScene] of LAYOUTS) {
  t.test(
    `T12 ${layout}: a death before any one store neither loses nor repeats a used entry`,
    async (t) => {
      let points = 0;
      for (;;) {
        const { scene, deaths } = play(makeScene, SCRIPT, [points]);
        if (!servedOnce(scene)) {
          t.fail(`death at store ${points}`, { used: scene.used, offered: scene.offered });
        }
        if (deaths === 0) break;
        points += 1;
      }
      t.ok(points > 100, `${points} points of death`);
    },
  );

  t.test(`T12 ${layout}: nor do two deaths, wherever they are`, async (t) => {
    let count = 0;
    for (let first = 0; ; first += 1) {
      if (play(makeScene, SHORT_SCRIPT, [first]).deaths === 0) break;
      for (let second = 0; ; second += 1) {
        const { scene, deaths } = play(makeScene, SHORT_SCRIPT, [first, second]);
        count += 1;
        if (!servedOnce(scene)) {
          t.fail(`deaths at stores ${first} and ${second}`, {
            used: scene.used,
            offered: scene.offered,
          });
          return;
        }
        if (deaths < 2) break;
      }
    }
    t.ok(count > 500, `${count} pairs of points`);
  });

  t.test(
    `T12 ${layout}: any script with any number of deaths serves each chain once, in order`,
    async () => {
      fc.assert(
        fc.property(
          fc.array(anyStep, { maxLength: 60 }),
          fc.array(fc.nat(120), { maxLength: 12 }),
          (steps, lives) => servedOnce(play(makeScene, steps, lives).scene),
        ),
        { numRuns: 300 },
      );
    },
  );
}

t.test(
  'T12 a region that is not this queue’s is refused, one of a former life is begun anew',
  async (t) => {
    const region = new DataView(new ArrayBuffer(splitInflightBytes(SIZE)));
    const state = (used: number) => ({ used, availableHead: () => 0 });
    t.throws(() => new SplitInflight(region, 2 * SIZE), { code: 'EINVAL' });
    t.equal(new SplitInflight(region, SIZE).recover(state(100)), undefined, 'memory never used');
    t.throws(() => new SplitInflight(region, SIZE / 2).recover(state(100)), { code: 'EINVAL' });
    const before = new SplitInflight(region, SIZE);
    before.recover(state(100));
    before.taken(Uint32Array.of(3, 1), 2);
    t.throws(
      () => new SplitInflight(region, SIZE).recover(state(100)),
      { code: 'EINVAL' },
      'not the ring’s',
    );
    t.equal(new SplitInflight(region, SIZE).recover(state(0)), 0, 'the ring was begun anew');
    region.setUint16(8, 2, true);
    t.throws(
      () => new SplitInflight(region, SIZE).recover(state(0)),
      { code: 'EINVAL' },
      'version 2',
    );
  },
);

t.test('T12 no bytes of a region make recovery throw anything but a refusal', async () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: splitInflightBytes(SIZE), maxLength: splitInflightBytes(SIZE) }),
      fc.integer({ min: 0, max: 0xffff }),
      (bytes, used) => {
        bytes.set([1, 0, SIZE, 0], 8);
        try {
          new SplitInflight(new DataView(bytes.slice().buffer), SIZE).recover({
            used,
            availableHead: (index) => index % SIZE,
          });
        } catch (error) {
          return (error as { code?: string }).code === 'EINVAL';
        }
        return true;
      },
    ),
  );
});
