import { setTimeout as sleep } from 'node:timers/promises';
import { link, type PacketBatch, type PacketSocket } from '@rxvhost/core';
import { GuestNic, vringAddresses } from '@rxvhost/guest';
import { EventFd } from '@rxvhost/sys';
import { defer, finalize, type Observable } from 'rxjs';
import t from 'tap';
import { memfdMappings, memoryRegion, openFds, until } from './support/bench.js';
import { arrives, exchange, pair, serveNic } from './support/served-pair.js';
import { DRIVER_FEATURES, TestVm } from './support/test-vm.js';

t.setTimeout(120_000);

t.test('two NICs in one process, a VM on each, frames both ways', async (t) => {
  const { left, right } = await pair(t);
  await left.vm.boot(left.path);
  await right.vm.boot(right.path);
  for (let round = 0; round < 20; round += 1) await exchange(t, left.vm, right.vm, 50);
  t.strictSame(left.errors.concat(right.errors), []);
});

t.test('T04 after a reconnect frames arrive although the guest never kicks', async (t) => {
  const { left, right } = await pair(t);
  await left.vm.boot(left.path);
  await right.vm.boot(right.path);
  await exchange(t, left.vm, right.vm, 10);
  const { kicks } = right.vm.nic.driver.statistics();
  for (let round = 0; round < 3; round += 1) {
    right.vm.disconnect();
    await right.vm.connect(right.path);
    await right.vm.startRings();
    left.vm.send(2);
    await arrives(t, right.vm, 10 + 2 * (round + 1), `after reconnect ${round}`);
  }
  t.equal(right.vm.nic.driver.statistics().kicks, kicks);
});

t.test('T04 T05 rings stop and start again on one connection', async (t) => {
  const { left, right } = await pair(t);
  await left.vm.boot(left.path);
  await right.vm.boot(right.path);
  await exchange(t, left.vm, right.vm, 10);
  for (const ring of right.vm.nic.rings) {
    const base = await right.vm.frontend?.stopQueue(ring.index);
    t.equal(base, right.vm.usedIndex(ring), 'nothing is in flight, so the two are the same');
  }
  right.vm.send(5); // waits in the ring
  left.vm.send(5); // waits on the cable
  await sleep(30);
  t.equal(left.vm.received.intact, 10);
  t.equal(right.vm.received.intact, 10);
  await right.vm.startRings();
  await arrives(t, left.vm, 15, 'what the guest had sent');
  await arrives(t, right.vm, 15, 'what had come for it');
});

t.test(
  'T06 the used index is read from memory at each start, and not touched before',
  async (t) => {
    const { left, right } = await pair(t);
    await left.vm.boot(left.path);
    await right.vm.boot(right.path);
    await exchange(t, left.vm, right.vm, 7);
    for (const ring of right.vm.nic.rings) await right.vm.frontend?.stopQueue(ring.index);
    // The guest's driver is loaded anew: it zeroes the rings and begins from nothing.
    right.vm.nic.driver.stop();
    right.vm.nic.driver.reset();
    const areas = right.vm.nic.rings.map(({ queue }) =>
      right.vm.arena.bytes(queue.addresses.usedRing, 6 + 8 * queue.size),
    );
    for (const area of areas) area.fill(0);
    right.vm.nic.start();
    left.vm.send(3);
    await sleep(30);
    t.ok(
      areas.every((area) => area.every((byte) => byte === 0)),
      'a stopped ring is not written',
    );
    for (const ring of right.vm.nic.rings) await right.vm.startRing(ring, 0);
    await arrives(t, right.vm, 10, 'three more');
    const [receive] = right.vm.nic.rings;
    t.equal(receive && right.vm.usedIndex(receive), 3, 'counted from the zeroed index');
    right.vm.send(1);
    await arrives(t, left.vm, 8, 'one the other way');
  },
);

t.test('T19 rings at new addresses after a reset, while old kicks are pending', async (t) => {
  const { left, right } = await pair(t);
  await left.vm.boot(left.path);
  await right.vm.boot(right.path);
  await exchange(t, left.vm, right.vm, 5);
  const { vm } = right;
  vm.nic.driver.stop();
  for (const { kick } of vm.nic.rings) kick.signal();
  await vm.frontend?.request('RESET_DEVICE', undefined);
  for (const { kick } of vm.nic.rings) kick.signal();
  const reloaded = new GuestNic(vm.arena, {
    features: DRIVER_FEATURES,
    queueSize: 16,
    makeEvent: () => new EventFd(),
  });
  t.teardown(() => reloaded.close());
  reloaded.driver.frames$.subscribe((batch) => {
    for (const frame of batch) vm.received.receive(frame);
  });
  await vm.frontend?.request('SET_FEATURES', DRIVER_FEATURES | (1n << 30n));
  for (const ring of reloaded.rings) await vm.startRing(ring, 0);
  reloaded.start();
  left.vm.send(5);
  await arrives(t, vm, 10, 'on the new receive ring');
  reloaded.driver.send(vm.sent.make(100));
  await arrives(t, left.vm, 6, 'from the new transmit ring');
  t.strictSame(right.errors, []);
});

t.test(
  'T19 RING_RESET: one ring is set up anew, again and again, while the other runs',
  async (t) => {
    const { left, right } = await pair(t);
    await left.vm.boot(left.path);
    await right.vm.boot(right.path);
    await exchange(t, left.vm, right.vm, 10);
    const { vm } = right;
    const { frontend } = vm;
    if (frontend === undefined) throw new Error('it is connected');
    let sent = left.vm.received.intact;
    for (let round = 0; round < 20; round += 1) {
      const old = vm.nic.ring(1);
      old.kick.signal();
      // As QEMU does: the ring is stopped and started, and stays enabled all the time.
      await frontend.request('GET_VRING_BASE', { index: 1, num: 0 });
      old.kick.signal();
      left.vm.send(5);
      await arrives(t, vm, 10 + 5 * (round + 1), `round ${round}: the other ring receives`);
      const fresh = new GuestNic(vm.arena, {
        features: DRIVER_FEATURES,
        queueSize: round % 2 === 0 ? 16 : 32,
        makeEvent: () => new EventFd(),
      });
      t.teardown(() => fresh.close());
      const { queue, kick, call } = fresh.ring(1);
      const { logAddress, ...addresses } = vringAddresses(vm.arena, queue);
      const ring = { index: 1, hasFd: true };
      await frontend.request('SET_VRING_NUM', { index: 1, num: queue.size });
      await frontend.request('SET_VRING_BASE', { index: 1, num: 0 });
      const address = { index: 1, ...addresses, logAddress: BigInt(logAddress) };
      await frontend.request('SET_VRING_ADDR', address);
      old.kick.signal();
      await frontend.request('SET_VRING_KICK', ring, [kick.fd]);
      await frontend.request('SET_VRING_CALL', ring, [call.fd]);
      old.kick.signal();
      for (let frame = 0; frame < 7; frame += 1) fresh.driver.send(vm.sent.make(100));
      sent += 7;
      await until(t, `round ${round}: all arrives`, () => left.vm.received.intact === sent);
    }
    t.ok(left.vm.received.flawless && vm.received.flawless, 'each frame once, and in order');
    t.equal(right.nic.state, 'running');
    t.strictSame(left.errors.concat(right.errors), []);
  },
);

t.test('T23 memory is replaced, added and removed while rings run', async (t) => {
  const { left, right } = await pair(t);
  await left.vm.boot(left.path);
  await right.vm.boot(right.path);
  const { frontend, region } = right.vm;
  if (!frontend) throw new Error('not connected');
  const plugged = memoryRegion(t);
  const before = [openFds(), memfdMappings()];
  for (let round = 0; round < 20; round += 1) {
    right.vm.send(10);
    left.vm.send(10);
    const whole = { ...region, mmapOffset: 0 };
    await frontend.request('SET_MEM_TABLE', [whole], [region.fd]);
    await frontend.shareMemory([{ ...plugged, guestAddress: 0x8000_0000 }]);
    await frontend.request('REM_MEM_REG', {
      ...plugged,
      guestAddress: 0x8000_0000,
      mmapOffset: 0,
    });
    await arrives(t, left.vm, 10 * (round + 1), 'out');
    await arrives(t, right.vm, 10 * (round + 1), 'in');
  }
  t.strictSame([openFds(), memfdMappings()], before);
  t.strictSame(right.errors, []);
});

t.test('T23 a ring whose memory goes stops, and runs again when it is back', async (t) => {
  const { left, right } = await pair(t);
  await left.vm.boot(left.path);
  await right.vm.boot(right.path);
  await exchange(t, left.vm, right.vm, 5);
  const { frontend, region } = right.vm;
  await frontend?.request('REM_MEM_REG', { ...region, mmapOffset: 0 });
  t.equal(right.nic.state, 'owned', 'no ring runs');
  right.vm.send(5);
  left.vm.send(5);
  await sleep(30);
  await frontend?.shareMemory([region]);
  await arrives(t, left.vm, 10, 'out');
  await arrives(t, right.vm, 10, 'in');
});

/** Counts the subscriptions that a device holds on its backend. */
class CountingSocket implements PacketSocket {
  readonly headerLength = 0;
  subscriptions = 0;
  readonly readable$: Observable<void>;
  readonly writable$: Observable<void>;

  constructor(readonly inner: PacketSocket) {
    this.readable$ = this.#counted(inner.readable$);
    this.writable$ = this.#counted(inner.writable$);
  }

  send(batch: PacketBatch, first: number): number {
    return this.inner.send(batch, first);
  }

  receive(batch: PacketBatch): number {
    return this.inner.receive(batch);
  }

  close(): void {
    this.inner.close();
  }

  #counted(source: Observable<void>): Observable<void> {
    return defer(() => {
      this.subscriptions += 1;
      return source.pipe(
        finalize(() => {
          this.subscriptions -= 1;
        }),
      );
    });
  }
}

t.test('T11 1000 front-ends come and go: nothing stays, the other NIC goes on', async (t) => {
  const [one, other] = link();
  const socket = new CountingSocket(one);
  const left = await serveNic(t, socket);
  const right = { ...(await serveNic(t, other)), vm: new TestVm() };
  t.teardown(() => right.vm.close());
  await right.vm.boot(right.path);
  const lives: string[] = [];
  left.server.state$.subscribe((state) => lives.push(state));
  const idle = () => lives.at(-1) === 'listening';
  let before: number[] = [];
  let expected = 0;
  for (let cycle = 0; cycle < 1001; cycle += 1) {
    const vm = new TestVm(16);
    await vm.boot(left.path);
    vm.send(4);
    right.vm.send(4);
    expected += 4;
    for (let turn = 0; turn < 5000 && vm.received.intact < 4; turn += 1) await sleep(1);
    vm.close();
    for (let turn = 0; turn < 5000 && !idle(); turn += 1) await sleep(1);
    const now = [openFds(), memfdMappings(), socket.subscriptions];
    if (cycle === 0) before = now;
    else if (now.join() !== before.join()) t.strictSame(now, before, `after cycle ${cycle}`);
  }
  t.strictSame([openFds(), memfdMappings(), socket.subscriptions], before);
  t.equal(before[2], 0);
  t.equal(lives.filter((state) => state === 'connected').length, 1001);
  t.equal(right.nic.statistics().queues[0]?.frames, expected, 'every frame of every cycle arrived');
  t.equal(right.vm.frontend?.closed, false);
  t.strictSame(left.errors.concat(right.errors), []);
});
