/**
 * Inflight regions: a back-end dies between any two of its stores, and the next one neither loses a
 * chain nor gives one back twice.
 */
import fc from 'fast-check';
import t from 'tap';
import { PacketBatch, SPLIT_VIRTQUEUES, SplitVirtqueue } from '../src/index.js';
import { SplitInflight, splitInflightBytes } from '../src/virtqueue/inflight/split-inflight.js';
import { TrackedVirtqueue } from '../src/virtqueue/inflight/tracked-virtqueue.js';
import { RingMemory } from './support/ring-memory.js';

const SIZE = 8;
const FRAME = 60;
const FEATURES = {
  indirect: false,
  eventIndex: false,
  notifyOnEmpty: false,
  packed: false,
  inOrder: false,
};

class Died extends Error {}

/** How many stores a back-end may still make. */
interface Life {
  left: number;
}

function live(life: Life): void {
  if (life.left === 0) throw new Died();
  life.left -= 1;
}

/** A region's view in a process that ends before one of its stores. */
class MortalView extends DataView<ArrayBuffer> {
  constructor(
    buffer: ArrayBuffer,
    private readonly life: Life,
  ) {
    super(buffer);
  }

  override setUint8(at: number, value: number): void {
    live(this.life);
    super.setUint8(at, value);
  }

  override setUint16(at: number, value: number, little?: boolean): void {
    live(this.life);
    super.setUint16(at, value, little);
  }

  override setUint32(at: number, value: number, little?: boolean): void {
    live(this.life);
    super.setUint32(at, value, little);
  }
}

/** What a driver and a device do in turn. */
type Step =
  | { readonly kind: 'offer'; readonly count: number }
  | { readonly kind: 'take'; readonly count: number }
  | { readonly kind: 'put back'; readonly count: number }
  | { readonly kind: 'complete'; readonly count: number };

/** A ring with its driver and its region, which outlive the back-ends. */
class Scene {
  readonly ring = new RingMemory(SIZE);
  readonly region = new ArrayBuffer(splitInflightBytes(SIZE));
  readonly memory = this.ring.memory();
  /** Heads in the order in which they were offered, and in which they came back. */
  readonly offered: number[] = [];
  readonly used: number[] = [];
  #free = Array.from({ length: SIZE }, (_, head) => (head * 3) % SIZE);

  constructor() {
    for (let head = 0; head < SIZE; head += 1) this.ring.descriptor(head, { at: 0, length: FRAME });
  }

  /** The driver takes back what was used. */
  collect(): void {
    while (this.used.length % 0x1_0000 !== this.ring.usedIndex) {
      const { id } = this.ring.used(this.used.length % SIZE);
      this.used.push(id);
      this.#free.push(id);
    }
  }

  offer(count: number): void {
    this.collect();
    for (const head of this.#free.splice(0, count)) {
      this.offered.push(head);
      this.ring.offer(head);
    }
  }
}

/** A back-end process: it has what it took in private memory, and dies with it. */
class BackEnd {
  readonly #queue: TrackedVirtqueue;
  readonly #batch = new PacketBatch();
  #held: number[] = [];

  constructor(scene: Scene, life: Life) {
    const { ring, memory } = scene;
    const inflight = new SplitInflight(new MortalView(scene.region, life), SIZE);
    const used = ring.usedIndex;
    const base = inflight.recover({
      used,
      availableHead: (index) => ring.availableHead(index),
    });
    const queue = SPLIT_VIRTQUEUES.create(memory.table, ring.addresses, SIZE, FEATURES, base ?? 0);
    if (!(queue instanceof SplitVirtqueue)) throw new Error('not a split queue');
    const complete = queue.completeReadable.bind(queue);
    queue.completeReadable = (...given) => {
      // The publication is a store like the others.
      live(life);
      complete(...given);
    };
    this.#queue = new TrackedVirtqueue(queue, inflight);
  }

  do({ kind, count }: Step): void {
    switch (kind) {
      case 'offer':
        return;
      case 'take': {
        const taken = this.#queue.takeReadable(this.#batch, count, 0, 0);
        this.#held.push(...this.#batch.heads.subarray(0, taken));
        return;
      }
      case 'put back': {
        const chains = Math.min(count, this.#held.length);
        this.#held.length -= chains;
        this.#queue.putBack(chains);
        return;
      }
      case 'complete': {
        const heads = this.#held.splice(0, count);
        this.#queue.completeReadable(Uint32Array.from(heads), 0, heads.length);
        return;
      }
    }
  }
}

/**
 * Plays the steps with back-ends that make `lives[0]`, `lives[1]` … stores each, and one that lives
 * on; returns how many stores the first one made.
 */
function play(steps: readonly Step[], lives: readonly number[]) {
  const scene = new Scene();
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

t.test('T12 a death before any one store neither loses nor repeats a used entry', async (t) => {
  let points = 0;
  for (;;) {
    const { scene, deaths } = play(SCRIPT, [points]);
    if (JSON.stringify(scene.used) !== JSON.stringify(scene.offered)) {
      t.fail(`death at store ${points}`, { used: scene.used, offered: scene.offered });
    }
    if (deaths === 0) break;
    points += 1;
  }
  t.ok(points > 100, `${points} points of death`);
});

t.test('T12 nor do two deaths, wherever they are', async (t) => {
  const script = SCRIPT.slice(0, 7);
  let count = 0;
  for (let first = 0; ; first += 1) {
    if (play(script, [first]).deaths === 0) break;
    for (let second = 0; ; second += 1) {
      const { scene, deaths } = play(script, [first, second]);
      count += 1;
      if (JSON.stringify(scene.used) !== JSON.stringify(scene.offered)) {
        t.fail(`deaths at stores ${first} and ${second}`);
      }
      if (deaths < 2) break;
    }
  }
  t.ok(count > 1000, `${count} pairs of points`);
});

const anyStep: fc.Arbitrary<Step> = fc.record({
  kind: fc.constantFrom('offer', 'take', 'put back', 'complete'),
  count: fc.integer({ min: 1, max: SIZE }),
});

t.test('T12 any script with any number of deaths serves each chain once, in order', async () => {
  fc.assert(
    fc.property(
      fc.array(anyStep, { maxLength: 60 }),
      fc.array(fc.nat(80), { maxLength: 12 }),
      (steps, lives) => {
        const { scene } = play(steps, lives);
        return JSON.stringify(scene.used) === JSON.stringify(scene.offered);
      },
    ),
    { numRuns: 500 },
  );
});

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
