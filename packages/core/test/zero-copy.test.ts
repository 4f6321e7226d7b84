import fc from 'fast-check';
import { Subject } from 'rxjs';
import t from 'tap';
import {
  CompletionBatch,
  type PacketBatch,
  splitInflightBytes,
  type ZeroCopySender,
} from '../src/index.js';
import { FakeSocket, frame, makeNic } from './support/nic.js';

/** A backend that sends by reference and completes when the test says so. */
class ReferenceSocket extends FakeSocket {
  readonly out: { ticket: number; bytes: Uint8Array }[] = [];
  readonly #completions = new Subject<CompletionBatch>();
  referenceRoom = Number.POSITIVE_INFINITY;
  readonly zeroCopy: ZeroCopySender = {
    completions$: this.#completions,
    send: (batch: PacketBatch, first: number, tickets: Uint32Array) => {
      let index = first;
      for (; index < batch.count && this.referenceRoom > 0; index += 1) {
        const bytes = new Uint8Array(batch.frameLength(index));
        batch.copyFrame(index, bytes);
        batch.results[index] = this.outcomes.get(bytes[0] as number) ?? bytes.length;
        if ((batch.results[index] as number) < 0) continue;
        this.sent.push(bytes);
        this.out.push({ ticket: tickets[index] as number, bytes });
        this.referenceRoom -= 1;
      }
      return index - first;
    },
  };

  get watched(): boolean {
    return this.#completions.observed;
  }

  /** Completes by ticket. */
  complete(tickets: readonly number[], succeeded = true): void {
    const batch = new CompletionBatch(Math.max(1, tickets.length));
    for (const ticket of tickets) batch.push(ticket, succeeded);
    this.#completions.next(batch);
  }

  /** Completes all that is out. */
  completeAll(succeeded = true): void {
    this.complete(
      this.out.splice(0).map(({ ticket }) => ticket),
      succeeded,
    );
  }
}

function setUp(size = 8, options = {}) {
  const socket = new ReferenceSocket();
  const nic = makeNic({ backends: socket, ...options }, size);
  nic.setUp();
  nic.run();
  return { ...nic, socket };
}

const long = (value: number) => frame(value, 256);
const statistics = (nic: ReturnType<typeof setUp>) => nic.nic.statistics().queues[1];

t.test(
  'C11 frames of 256 bytes and more go out by reference, shorter ones are copied',
  async (t) => {
    const nic = setUp();
    nic.offerFrames([frame(1, 255), frame(2, 256), frame(3, 60)]);
    nic.turns.settle();
    t.same(nic.socket.sent, [frame(1, 255), frame(2, 256), frame(3, 60)], 'in order');
    t.equal(nic.socket.out.length, 1);
    t.equal(nic.transmit.usedIndex, 2, 'the copied ones are used at once');
    nic.socket.completeAll();
    nic.turns.settle();
    t.equal(nic.transmit.usedIndex, 3);
    t.same(nic.transmit.used(2), { id: 1, length: 0 });
    t.match(statistics(nic), { zeroCopy: 1, frames: 3 });
  },
);

const usedIds = (nic: ReturnType<typeof setUp>) =>
  Array.from({ length: nic.transmit.usedIndex }, (_, index) => nic.transmit.used(index).id);

t.test(
  'T12 while it is noted what is in flight, copied frames wait for those before',
  async (t) => {
    const socket = new ReferenceSocket();
    const nic = { ...makeNic({ backends: socket }), socket };
    nic.setUp();
    nic.nic.setInflight(1, new Uint8Array(splitInflightBytes(8)));
    nic.run();
    nic.offerFrames([frame(1), long(2), frame(3), long(4)]);
    nic.turns.settle();
    t.equal(nic.socket.sent.length, 4);
    t.same(usedIds(nic), [0], 'as with IN_ORDER: what is in flight is the oldest of the ring');
    nic.socket.completeAll();
    nic.turns.settle();
    t.same(usedIds(nic), [0, 1, 2, 3]);
  },
);

t.test('C11 T12 in order, nothing overtakes what is out where the queue was before', async (t) => {
  const socket = new ReferenceSocket();
  const nic = { ...makeNic({ backends: socket }), socket };
  nic.setUp();
  nic.nic.setInflight(1, new Uint8Array(splitInflightBytes(8)));
  nic.run();
  nic.offerFrames([long(1), long(2)]);
  nic.turns.settle();
  nic.nic.runQueue(1, 'discarding');
  nic.offerFrames([frame(3), long(4)]);
  nic.turns.settle();
  t.same(usedIds(nic), [], 'a disabled queue discards, but not before its turn has come');
  nic.socket.completeAll();
  nic.turns.settle();
  t.same(usedIds(nic), [0, 1, 2, 3]);
  t.match(statistics(nic), { drops: { disabled: 2 } });
});

t.test('C11 C13 what never completes holds up a queue in order only for so long', async (t) => {
  const socket = new ReferenceSocket();
  const nic = { ...makeNic({ backends: socket, drainTimeout: 1 }), socket };
  nic.setUp();
  nic.nic.setInflight(1, new Uint8Array(splitInflightBytes(8)));
  nic.run();
  nic.offerFrames([long(1)]);
  nic.turns.settle();
  nic.nic.runQueue(1, 'discarding');
  nic.offerFrames([frame(2)]);
  nic.turns.settle();
  while (nic.faults.length === 0) await new Promise((resolve) => setTimeout(resolve, 1));
  await Promise.resolve();
  nic.turns.settle();
  t.match(nic.faults, [{ queue: 1, error: { code: 'ETIMEDOUT' } }]);
  t.match(statistics(nic), { drops: { disabled: 1 } });
});

t.test('C11 used entries are published in order although completions come in any', async (t) => {
  const nic = setUp();
  nic.offerFrames([long(1), long(2), long(3)]);
  nic.turns.settle();
  const [a = 0, b = 0, c = 0] = nic.socket.out.map(({ ticket }) => ticket);
  nic.socket.complete([c]);
  nic.socket.complete([b]);
  nic.turns.settle();
  t.equal(nic.transmit.usedIndex, 0);
  const calls = nic.port(1).call.pending;
  nic.socket.complete([a]);
  nic.turns.settle();
  t.same(
    [0, 1, 2].map((index) => nic.transmit.used(index).id),
    [0, 1, 2],
  );
  t.equal(nic.port(1).call.pending, calls + 1, 'one call for the batch');
});

t.test('C11 at most 128 frames are out at a time; every 16th completion goes on', async (t) => {
  const nic = setUp(1024);
  for (let n = 0; n < 20; n += 1) {
    nic.offerFrames(
      Array.from({ length: 10 }, () => long(n)),
      10,
      n === 19,
    );
  }
  nic.turns.settle();
  t.equal(nic.socket.out.length, 128);
  t.notOk(nic.socket.writable.observed, 'the socket is not full');
  nic.socket.complete(nic.socket.out.splice(0, 15).map(({ ticket }) => ticket));
  nic.turns.settle();
  t.equal(nic.socket.out.length, 113, 'not woken yet');
  nic.socket.complete(nic.socket.out.splice(0, 1).map(({ ticket }) => ticket));
  nic.turns.settle();
  t.equal(nic.socket.out.length, 128, '16 more');
  while (nic.socket.out.length > 0) {
    nic.socket.completeAll();
    nic.turns.settle();
  }
  t.equal(nic.transmit.usedIndex, 200);
});

t.test('C11 the switch turns it off', async (t) => {
  const nic = setUp(8, { zeroCopy: false });
  nic.offerFrames([long(1)]);
  nic.turns.settle();
  t.equal(nic.socket.out.length, 0);
  t.equal(nic.transmit.usedIndex, 1);
});

t.test('C12 too many failures turn to copying until 1024 packets have gone', async (t) => {
  const nic = setUp(1024);
  nic.offerFrames([long(1)]);
  nic.turns.settle();
  nic.socket.completeAll(false);
  nic.turns.settle();
  t.equal(nic.transmit.usedIndex, 1, 'a failed frame is used all the same');
  t.equal(statistics(nic)?.zeroCopyFailures, 1);
  const send = (count: number) => {
    for (let n = 0; n < count; n += 1) nic.offerFrames([long(2)]);
    nic.turns.settle();
  };
  send(62);
  t.equal(nic.socket.out.length, 0, 'one failure in fewer than 64 frames: copy');
  send(1);
  send(1);
  t.equal(nic.socket.out.length, 1, 'after 64 by reference again');
  for (let packets = 65; packets < 1024; packets += 1) {
    nic.socket.completeAll(false);
    nic.turns.settle();
    send(1);
  }
  t.ok((statistics(nic)?.zeroCopyFailures ?? 0) <= 1024 / 64, 'never more than a 64th fails');
  nic.socket.completeAll();
  nic.turns.settle();
  send(1);
  t.equal(nic.socket.out.length, 1, 'then both counters begin anew');
});

t.test('C11 C12 a send that fails or is not taken gives its slot back', async (t) => {
  const nic = setUp();
  nic.socket.outcomes.set(2, -22);
  nic.socket.referenceRoom = 2;
  nic.offerFrames([long(1), long(2), long(3), long(4), long(5)]);
  nic.turns.settle();
  t.equal(nic.socket.out.length, 2);
  t.ok(nic.socket.writable.observed);
  nic.socket.completeAll();
  nic.turns.settle();
  t.equal(nic.transmit.usedIndex, 3, 'two sent and one refused');
  nic.socket.referenceRoom = 9;
  nic.socket.writable.next();
  nic.turns.settle();
  nic.socket.completeAll();
  nic.turns.settle();
  t.equal(nic.transmit.usedIndex, 5);
  t.same(
    nic.socket.sent.map(([first]) => first),
    [1, 3, 4, 5],
  );
  t.match(statistics(nic), { frames: 4, drops: { refused: 1 } });
});

t.test(
  'C13 a completion that comes twice, or for nothing, is counted and meets nobody',
  async (t) => {
    const nic = setUp();
    nic.offerFrames([long(1)]);
    nic.turns.settle();
    const [{ ticket } = { ticket: 0 }] = nic.socket.out;
    nic.socket.complete([ticket, ticket, 0xffff_ffff, 12345]);
    nic.turns.settle();
    t.equal(nic.transmit.usedIndex, 1);
    nic.offerFrames([long(2)]);
    nic.turns.settle();
    nic.socket.complete([ticket]);
    nic.turns.settle();
    t.equal(nic.transmit.usedIndex, 1, 'nor does an old ticket meet a new frame');
    t.equal(statistics(nic)?.strayCompletions, 4);
  },
);

t.test('C13 stopping waits for what is outstanding and publishes it once', async (t) => {
  const nic = setUp();
  nic.offerFrames([long(1), long(2)]);
  nic.turns.settle();
  nic.nic.runQueue(1, 'stopped');
  const settled = nic.nic.queueSettled(1);
  t.ok(settled, 'not at once');
  let done = false;
  settled?.then(() => (done = true));
  await Promise.resolve();
  t.notOk(done);
  nic.offerFrames([long(3)]);
  nic.turns.settle();
  t.equal(nic.socket.sent.length, 2, 'nothing new is sent');
  nic.socket.completeAll();
  await settled;
  t.equal(nic.transmit.usedIndex, 2);
  t.equal(nic.nic.vringBase(1), 2);
  t.notOk(nic.socket.watched, 'its completions are not listened to any more');
  t.equal(nic.nic.queueSettled(1), undefined);
  nic.nic.runQueue(1, 'running');
  nic.turns.settle();
  t.equal(nic.socket.sent.length, 3);
  nic.socket.completeAll();
  nic.turns.settle();
  t.equal(nic.transmit.usedIndex, 3);
});

t.test(
  'C13 a change of backends that ends late gives up nothing of the next backend',
  async (t) => {
    const nic = setUp();
    const other = new ReferenceSocket();
    nic.offerFrames([long(1)]);
    nic.turns.settle();
    const changed = nic.nic.setBackend(1, other);
    nic.offerFrames([long(2)]);
    nic.turns.settle();
    const detached = nic.nic.setBackend(1, undefined);
    nic.socket.completeAll();
    nic.turns.settle();
    await changed;
    t.equal(nic.transmit.usedIndex, 1, 'the first backend’s frame');
    other.completeAll();
    nic.turns.settle();
    await detached;
    t.equal(nic.transmit.usedIndex, 2, 'and the second one’s');
    t.same(nic.faults, []);
  },
);

t.test(
  'C13 a backend change and a reset wait too, and memory stays mapped meanwhile',
  async (t) => {
    const nic = setUp();
    nic.offerFrames([long(1)]);
    nic.turns.settle();
    const other = new FakeSocket();
    const changed = nic.nic.setBackend(1, other);
    let done = false;
    changed.then(() => (done = true));
    nic.offerFrames([long(2)]);
    nic.turns.settle();
    await Promise.resolve();
    t.notOk(done);
    t.equal(other.sent.length, 1, 'the new backend works already');
    nic.socket.completeAll();
    nic.turns.settle();
    await changed;
    t.equal(nic.transmit.usedIndex, 2);

    const second = setUp();
    second.offerFrames([long(1)]);
    second.turns.settle();
    second.nic.setMemoryRegions([]);
    t.equal(second.transmit.released, 0, 'the frame is still being read');
    const reset = second.nic.reset();
    second.socket.completeAll();
    second.turns.settle();
    await reset;
    t.equal(second.transmit.released, 1);
    second.socket.complete([0]);
  },
);

t.test(
  'C13 a backend that never completes is given up with a fault, not waited for for ever',
  async (t) => {
    const nic = setUp(8, { drainTimeout: 20 });
    nic.offerFrames([long(1)]);
    nic.turns.settle();
    const [{ ticket } = { ticket: 0 }] = nic.socket.out;
    const reset = nic.nic.reset();
    await nic.nic.queueSettled(1);
    nic.turns.settle();
    await reset;
    t.match(nic.faults, [{ queue: 1, error: { code: 'ETIMEDOUT' } }]);
    t.equal(nic.transmit.released, 0, 'its memory stays, since the backend may still read it');
    nic.socket.complete([ticket]);
    t.equal(nic.transmit.usedIndex, 0);
  },
);

t.test(
  'C11 C13 in any interleaving every frame goes out once, in order, and is used once',
  async (t) => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.oneof(
            fc.record({
              kind: fc.constant('offer' as const),
              lengths: fc.array(fc.integer({ min: 200, max: 300 }), { maxLength: 5 }),
            }),
            fc.record({
              kind: fc.constant('complete' as const),
              picks: fc.array(fc.nat(20), { maxLength: 6 }),
              ok: fc.boolean(),
            }),
            fc.record({
              kind: fc.constant('room' as const),
              reference: fc.nat(4),
              copied: fc.nat(4),
            }),
            fc.record({ kind: fc.constant('restart' as const) }),
          ),
          { maxLength: 40 },
        ),
        async (steps) => {
          const nic = setUp(8);
          const { socket, transmit, turns } = nic;
          let offered = 0;
          // How often each head was offered, and came back; a head is its frame's number modulo 8.
          const balance = Array<number>(8).fill(0);
          let seen = 0;
          const tally = () => {
            for (; seen !== transmit.usedIndex; seen = (seen + 1) & 0xffff) {
              const { id } = transmit.used(seen);
              balance[id] = (balance[id] ?? 0) - 1;
            }
            return balance.every((count) => count === 0 || count === 1);
          };
          const finish = (wake: boolean) => {
            socket.completeAll();
            if (wake && socket.writable.observed) socket.writable.next();
            turns.settle();
          };
          for (const step of steps) {
            switch (step.kind) {
              case 'offer': {
                const frames: Uint8Array[] = [];
                for (const length of step.lengths) {
                  if (balance[offered % 8] !== 0) break;
                  balance[offered % 8] = 1;
                  frames.push(frame(offered++ & 0xff, length));
                }
                nic.offerFrames(frames);
                break;
              }
              case 'complete':
                for (const pick of step.picks) {
                  const [one] = socket.out.splice(pick % Math.max(1, socket.out.length), 1);
                  if (one !== undefined) socket.complete([one.ticket], step.ok);
                }
                break;
              case 'room':
                socket.referenceRoom = step.reference;
                socket.room = step.copied;
                if (socket.writable.observed) socket.writable.next();
                break;
              case 'restart': {
                nic.nic.runQueue(1, 'stopped');
                const settled = nic.nic.queueSettled(1);
                finish(false);
                await settled;
                nic.nic.runQueue(1, 'running');
                break;
              }
            }
            turns.settle();
            if (!tally()) return false;
          }
          socket.room = Number.POSITIVE_INFINITY;
          socket.referenceRoom = Number.POSITIVE_INFINITY;
          for (let n = 0; n < 10; n += 1) finish(true);
          return (
            transmit.usedIndex === offered &&
            socket.sent.length === offered &&
            socket.sent.every(([first], index) => first === (index & 0xff))
          );
        },
      ),
      { numRuns: 300 },
    );
    t.pass('any interleaving');
  },
);
