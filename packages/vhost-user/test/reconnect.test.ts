/** A front-end whose back-end is killed and comes back. */
import { setTimeout as delay } from 'node:timers/promises';
import { NET_FEATURE } from '@rxvhost/core';
import { connectUnix, UnixListener } from '@rxvhost/sys';
import { VirtualTimeScheduler } from 'rxjs';
import t, { type Test } from 'tap';
import {
  type FrontendConnection,
  type MachineSetup,
  ReconnectingFrontend,
  VhostUserFrontend,
} from '../src/index.js';
import { memfdMappings, openFds, until } from './support/bench.js';
import { killServer, socketPathFor, startServer } from './support/server-process.js';
import { DRIVER_FEATURES, TestVm } from './support/test-vm.js';

const { CSUM, HOST_TSO4 } = NET_FEATURE;

// Many processes are started: a busy machine needs its time.
t.setTimeout(120_000);

/** The loopback server in a process of its own, ready for connections. */
const startLoopback = (t: Test, path: string, missing = '') =>
  startServer(t, 'loopback-server', path, missing);

/** A machine without memory and queues: enough to be connected. */
const BARE: MachineSetup = { handshake: { features: 0n }, memory: [], queues: [] };

t.test('T10 T06 traffic goes on after each of five killed back-ends', async (t) => {
  const path = socketPathFor(t);
  const vm = new TestVm();
  t.teardown(() => vm.close());
  const machine = vm.machine(DRIVER_FEATURES | CSUM | HOST_TSO4);
  const reconnecting = new ReconnectingFrontend(path, machine, { longestDelay: 50 });
  const connections: FrontendConnection[] = [];
  const failures: string[] = [];
  reconnecting.failures$.subscribe(({ code }) => failures.push(code));
  const subscription = reconnecting.connections$.subscribe((one) => connections.push(one));
  t.teardown(() => subscription.unsubscribe());
  vm.nic.start();
  await until(t, 'it tries while nobody listens', () => failures.includes('ENOENT'));

  let resources: number[] = [];
  for (let life = 1; life <= 5; life += 1) {
    const before = vm.received.intact;
    vm.send(5);
    const server = await startLoopback(t, path, life % 2 === 0 ? 'csum' : '');
    await until(t, 'what was sent while nobody was there', () => {
      return vm.received.intact === before + 5;
    });
    await until(t, 'it is told', () => connections.length === life);
    for (let burst = 0; burst < 20; burst += 1) {
      const sofar = vm.received.intact;
      vm.send(20);
      while (vm.received.intact < sofar + 20) await delay(1);
    }
    const offered = life % 2 === 0 ? 0n : CSUM | HOST_TSO4;
    t.equal(
      (connections.at(-1)?.agreement.features ?? 0n) & (CSUM | HOST_TSO4),
      offered,
      'features are negotiated from scratch',
    );
    await killServer(server);
    await until(t, 'the death is noticed', () => connections.at(-1)?.frontend.closed === true);
    const now = [openFds(), memfdMappings()];
    if (life > 1) t.same(now, resources, 'nothing is left of a connection');
    resources = now;
  }
  t.equal(vm.received.intact, 5 * 405);
  t.ok(vm.received.flawless, 'no frame was lost, doubled or reordered');
});

t.test('T10 of a burst that a death interrupts nothing is doubled or damaged', async (t) => {
  const path = socketPathFor(t);
  const vm = new TestVm();
  t.teardown(() => vm.close());
  const reconnecting = new ReconnectingFrontend(path, vm.machine(), { longestDelay: 50 });
  const subscription = reconnecting.connections$.subscribe();
  t.teardown(() => subscription.unsubscribe());
  vm.nic.start();
  const passed = () => vm.received.intact + vm.received.missing;
  let frame = vm.sent.make(200);
  const fillRing = () => {
    while (vm.nic.driver.send(frame)) frame = vm.sent.make(200);
  };
  for (let life = 0; life < 5; life += 1) {
    const server = await startLoopback(t, path);
    const before = passed();
    while (passed() < before + 1000) {
      fillRing();
      await delay(1);
    }
    fillRing();
    await killServer(server);
  }
  await startLoopback(t, path);
  await until(t, 'room in the ring', () => vm.nic.driver.send(frame));
  await until(t, 'the last frame', () => passed() === vm.sent.next);
  t.match(vm.received, { damaged: 0, outOfOrder: 0 });
});

t.test('T10 it waits twice as long after each failure, up to a limit', async (t) => {
  const path = socketPathFor(t);
  const scheduler = new VirtualTimeScheduler(undefined, 2000);
  const options = { firstDelay: 10, longestDelay: 500, scheduler };
  const reconnecting = new ReconnectingFrontend(path, BARE, options);
  const tries: number[] = [];
  reconnecting.failures$.subscribe(() => tries.push(scheduler.now()));
  const subscription = reconnecting.connections$.subscribe();
  scheduler.flush();
  subscription.unsubscribe();
  t.same(tries, [0, 10, 30, 70, 150, 310, 630, 1130, 1630]);
  for (const wrong of [{ firstDelay: 0 }, { firstDelay: 2000 }, { longestDelay: Number.NaN }]) {
    t.throws(() => new ReconnectingFrontend(path, BARE, wrong), { code: 'EINVAL' });
  }
});

t.test('T10 a back-end that hangs up at once does not make it try without a pause', async (t) => {
  const path = socketPathFor(t);
  const listener = new UnixListener(path);
  t.teardown(() => listener.close());
  let accepted = 0;
  listener.connections$.subscribe((fd) => {
    accepted += 1;
    new VhostUserFrontend(fd).close();
  });
  const reconnecting = new ReconnectingFrontend(path, BARE, { firstDelay: 20, longestDelay: 5000 });
  const failures: string[] = [];
  reconnecting.failures$.subscribe(({ code }) => failures.push(code));
  const subscription = reconnecting.connections$.subscribe();
  await until(t, 'a few tries', () => failures.length === 5);
  subscription.unsubscribe();
  t.same([...new Set(failures)], ['ECONNRESET']);
  t.equal(accepted, 5);
});

t.test('subscribers share one connection, and the last one to leave closes it', async (t) => {
  const path = socketPathFor(t);
  const server = await startLoopback(t, path);
  const fds = openFds();
  const { connections$ } = new ReconnectingFrontend(path, BARE);
  const got: FrontendConnection[] = [];
  const first = connections$.subscribe((one) => got.push(one));
  await until(t, 'connected', () => got.length === 1);
  const second = connections$.subscribe((one) => got.push(one));
  t.equal(got.length, 2, 'a late subscriber gets the connection that there is');
  t.equal(got[0]?.frontend, got[1]?.frontend);
  first.unsubscribe();
  t.equal(got[0]?.frontend.closed, false);
  second.unsubscribe();
  t.equal(got[0]?.frontend.closed, true);
  t.equal(openFds(), fds);
  await killServer(server);
  t.throws(() => connectUnix(path), { code: 'ECONNREFUSED' });
});
