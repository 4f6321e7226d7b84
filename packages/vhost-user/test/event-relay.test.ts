import t from 'tap';
import { EventRelay } from '../src/workers/event-relay.js';
import type { DeviceEvent } from '../src/workers/messages.js';

type Event = DeviceEvent<number>;
const fault = (queue: number): Event => ({
  kind: 'queueFault',
  queue,
  error: { code: 'EFAULT', message: 'outside' },
});
const nextTurn = () => new Promise((resolve) => setImmediate(resolve));

function relay() {
  const batches: { events: readonly Event[]; missed: number }[] = [];
  const made = new EventRelay<number>((events, missed) => batches.push({ events, missed }));
  return { relay: made, batches };
}

t.test(
  'what happens in one turn is one batch, and the next waits until it was taken',
  async (t) => {
    const { relay: events, batches } = relay();
    events.add({ kind: 'state', state: 'listening' });
    events.add(fault(1));
    t.equal(batches.length, 0, 'not in the middle of something');
    await nextTurn();
    events.add(fault(2));
    await nextTurn();
    t.match(batches, [{ events: [{ state: 'listening' }, { queue: 1 }], missed: 0 }]);
    t.equal(batches.length, 1);
    events.taken();
    await nextTurn();
    t.match(batches[1]?.events, [{ queue: 2 }]);
    events.taken();
    await nextTurn();
    t.equal(batches.length, 2, 'no empty batches');
  },
);

t.test('T43 what comes faster than it is taken is counted, not kept', async (t) => {
  const { relay: events, batches } = relay();
  events.add({ kind: 'connected', connection: 1, pid: 7 });
  await nextTurn();
  for (let k = 0; k < 100_000; k += 1) {
    events.add(fault(k));
    events.add({ kind: 'statistics', statistics: k });
    events.add({ kind: 'state', state: k % 2 === 0 ? 'listening' : 'connected' });
  }
  events.add({ kind: 'ended', connection: 1 });
  events.add({ kind: 'connected', connection: 2, pid: 7 });
  events.add({ kind: 'ended', connection: 2 });
  events.taken();
  await nextTurn();
  const { events: kept = [], missed = 0 } = batches[1] ?? {};
  t.ok(kept.length <= 259, `${kept.length} events`);
  const faults = kept.filter(({ kind }) => kind === 'queueFault').length;
  t.equal(faults + missed, 100_001, 'every fault is told of or counted, and the second connection');
  t.match(
    kept.filter(({ kind }) => kind !== 'queueFault').slice(-3),
    [{ statistics: 99_999 }, { state: 'connected' }, { kind: 'ended', connection: 1 }],
    'the latest state, the latest statistics, and the end of what was told of',
  );
  events.taken();
  events.add({ kind: 'connected', connection: 3, pid: 7 });
  events.add({ kind: 'ended', connection: 3 });
  await nextTurn();
  t.match(batches[2], { events: [{ connection: 3 }, { kind: 'ended' }], missed: 0 });
});

t.test('the rest is sent at the end, taken or not', async (t) => {
  const { relay: events, batches } = relay();
  events.add(fault(1));
  await nextTurn();
  events.add(fault(2));
  events.flush();
  events.flush();
  t.equal(batches.length, 2);
});
