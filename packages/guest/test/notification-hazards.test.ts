/**
 * What a guest sees of a device's notifications: hazards T41, T42 and T57 against vhost-net.
 */
import { EventLoopTurns, FEATURE, loopback, NullSocket, type TurnScheduler } from '@rxvhost/core';
import t from 'tap';
import { HostileGuest } from './support/hostile-guest.js';
import { plugged, turn, until } from './support/nics.js';
import { RecordingSocket } from './support/recording-socket.js';

t.setTimeout(120_000);

for (const eventIndex of [false, true]) {
  const features = FEATURE.VERSION_1 | (eventIndex ? FEATURE.EVENT_IDX : 0n);
  const mode = eventIndex ? 'with EVENT_IDX' : 'with flags';

  t.test(`T41 no kick and no call is lost while indices wrap at 2^16, ${mode}`, async (t) => {
    // The driver kicks only when asked, and looks at the ring only when called: one lost, all stop.
    const { nic, close } = plugged(loopback(), { features, queueSize: 16 });
    const frame = new Uint8Array(60);
    let received = 0;
    nic.driver.frames$.subscribe((batch) => {
      received += batch.count;
      // Uneven bursts: the ring runs empty, and full, again and again.
      for (let burst = received % 17; burst >= 0; burst -= 1) nic.driver.send(frame);
    });
    nic.driver.send(frame);
    await until(() => received > 70_000, 60_000);
    t.ok(received > 70_000, `${received} frames`);
    await close();
  });

  t.test(`T41 what slips in while the device is about to sleep is found, ${mode}`, async (t) => {
    const guest = new HostileGuest(features);
    const { transmit, socket } = guest;
    await turn(3);
    for (const index of [0, 1, 2]) guest.chain(transmit, index, guest.goodFrame(index + 1));
    // The ring was empty when the device looked last, and it wants no kick yet: a driver that heeds
    // that adds a chain and stays silent.
    let next = 1;
    socket.beforeSleep = () => {
      if (socket.sent.length !== next || next > 2) return;
      transmit.offer(next);
      next += 1;
    };
    transmit.offer(0);
    await guest.kick(1);
    t.strictSame(
      socket.sent.map((frame) => frame[0]),
      [1, 2, 3],
      'without another kick',
    );
    await guest.close();
  });

  t.test(`T41 the first chain after a restart is always called for, ${mode}`, async (t) => {
    const guest = new HostileGuest(features);
    const { transmit, device } = guest;
    await turn(3);
    guest.chain(transmit, 0, guest.goodFrame(1));
    transmit.offer(0);
    await guest.kick(1);
    const calls = () => device.statistics().queues[1]?.calls;
    t.equal(calls(), 1, 'the first one at all');
    device.runQueue(1, 'stopped');
    t.equal(device.vringBase(1), 1);
    // As far from what comes next as can be: by comparison alone no call would be due.
    if (eventIndex) transmit.usedEvent = 0x8000;
    device.runQueue(1, 'running');
    transmit.offer(0);
    await guest.kick(1);
    t.equal(calls(), 2);
    await guest.close();
  });
}

t.test('T41 flags and event indices: each side heeds only what was negotiated', async (t) => {
  const withEvents = new HostileGuest(FEATURE.VERSION_1 | FEATURE.EVENT_IDX);
  const withFlags = new HostileGuest(FEATURE.VERSION_1);
  await turn(3);
  const calls = ({ device }: HostileGuest) => device.statistics().queues[1]?.calls ?? 0;
  for (const guest of [withEvents, withFlags]) {
    guest.chain(guest.transmit, 0, guest.goodFrame(1));
    guest.transmit.offer(0);
    await guest.kick(1);
    t.equal(calls(guest), 1);
    guest.transmit.availableFlags = 1;
    guest.transmit.usedEvent = 1;
    let flagsAtWork = -1;
    guest.socket.meanwhile = () => {
      flagsAtWork = guest.transmit.usedFlags;
    };
    guest.transmit.offer(0);
    await guest.kick(1);
    if (guest === withEvents) {
      t.equal(calls(guest), 2, 'EVENT_IDX: NO_INTERRUPT means nothing');
      t.equal(flagsAtWork, 0, 'and NO_NOTIFY is never set');
      t.equal(guest.transmit.availEvent, 2, 'the next chain is to be kicked for');
    } else {
      t.equal(calls(guest), 1, 'flags: NO_INTERRUPT is heeded');
      t.equal(flagsAtWork, 1, 'NO_NOTIFY is set while the device is at work');
      t.equal(guest.transmit.usedFlags, 0, 'and cleared when it sleeps');
    }
    await guest.close();
  }
});

/** Counts the turns that a device asks for. */
class CountingTurns implements TurnScheduler {
  count = 0;
  readonly #turns = new EventLoopTurns();

  schedule(work: () => void): void {
    this.count += 1;
    this.#turns.schedule(work);
  }
}

t.test('T42 kicks without end, for nothing, or from a port that is gone do not spin', async (t) => {
  const turns = new CountingTurns();
  const { nic, device, close } = plugged(new NullSocket(), {}, { turns });
  await turn(5);
  const quiet = turns.count;
  const transmit = nic.ring(1);
  for (let kick = 0; kick < 100_000; kick += 1) transmit.kick.signal();
  await turn(5);
  t.match(device.statistics().queues[1], { kicks: 100_000, frames: 0, errors: 0 });
  t.ok(turns.count - quiet < 10, `${turns.count - quiet} turns for 100,000 kicks`);
  nic.driver.send(new Uint8Array(60));
  await until(() => nic.driver.pendingFrames() === 0);
  const before = turns.count;
  for (const { kick } of nic.rings) kick.close();
  await turn(200);
  t.ok(turns.count - before < 5, 'a closed kick is not looked at again and again');
  t.equal(device.state, 'running');
  await close();
});

t.test(
  'T57 without receive buffers the backend is left alone, until the guest gives some',
  async (t) => {
    const socket = new RecordingSocket();
    const guest = new HostileGuest(FEATURE.VERSION_1, 8, socket);
    await turn(3);
    socket.feed(new Uint8Array(60).fill(1), new Uint8Array(60).fill(2));
    await turn(200);
    t.notOk(socket.listening, 'not listening');
    t.equal(socket.receives, 0, 'never asked for a frame');
    t.equal(socket.waiting.length, 2, 'nothing is thrown away');
    guest.chain(guest.receive, 0, guest.space(100));
    guest.receive.offer(0);
    await guest.kick(0);
    t.strictSame(guest.receive.usedEntry(0), { id: 0, length: 72 });
    const receives = socket.receives;
    await turn(200);
    t.notOk(socket.listening, 'out of buffers again');
    t.equal(socket.receives, receives, 'and quiet');
    guest.chain(guest.receive, 1, guest.space(100));
    guest.receive.offer(1);
    await guest.kick(0);
    t.strictSame(guest.receive.usedEntry(1), { id: 1, length: 72 });
    guest.chain(guest.receive, 2, guest.space(100));
    guest.receive.offer(2);
    await guest.kick(0);
    t.ok(socket.listening, 'with buffers to spare it listens');
    socket.feed(new Uint8Array(60).fill(3));
    await turn(4);
    t.equal(guest.receive.usedIndex, 3, 'and needs no kick');
    t.notOk(socket.listening, 'and the last buffer gone, it does not');
    const before = socket.receives;
    socket.feed(new Uint8Array(60).fill(4));
    await turn(200);
    t.equal(socket.receives, before);
    t.match(guest.device.statistics().queues[0], { frames: 3, drops: { oversized: 0 } });
    await guest.close();
  },
);
