import { once } from 'node:events';
import { MessageChannel, type MessagePort } from 'node:worker_threads';
import { loopback, VhostNet } from '@rxvhost/core';
import { NativeCopier } from '@rxvhost/sys';
import t, { type Test } from 'tap';
import { serve, VhostUserFrontend } from '../src/index.js';
import { until } from './support/bench.js';
import { socketPath } from './support/listening.js';
import { heapBytes, openFiles, type Resources, resources } from './support/resources.js';
import { TestVm } from './support/test-vm.js';
import { nicWorkers, tidyTest } from './support/threads.js';

/** How often front-ends connect; the whole count with `RXVHOST_CONNECTIONS=10000`. */
const CONNECTIONS = Number(process.env['RXVHOST_CONNECTIONS'] ?? 500);
/** Enough for code to be compiled and caches to be as full as they get. */
const REHEARSAL = Math.max(500, CONNECTIONS / 2);
/**
 * Bytes that a heap may differ by, for code that is compiled meanwhile. A connection that stays would
 * be over it after a few hundred, a forgotten subscription of each only in the whole count.
 */
const HEAP_TOLERANCE = 1_200_000;

t.setTimeout(60_000 + 100 * CONNECTIONS);

/** Connects a front-end and lets it go, each time in another state. */
async function comeAndGo(t: Test, vm: TestVm, path: string, rounds: number): Promise<void> {
  for (let round = 0; round < rounds; round += 1) {
    switch (round % 4) {
      case 0: // before it has said anything
        VhostUserFrontend.connect(path).close();
        break;
      case 1: // with memory and nothing else
        await vm.connect(path);
        break;
      case 2: // with its rings running, asked to stop one of them
        await vm.connect(path);
        await vm.startRings();
        await vm.frontend?.stopQueue(round % 8 === 2 ? 0 : 1);
        break;
      case 3: // in the middle of a message, with fds in it
        await vm.connect(path);
        await vm.startRings();
        await vm.frontend?.sendBytes(Uint8Array.of(5, 0, 0, 0, 1), [vm.memory]);
        break;
    }
    vm.disconnect();
  }
  // Whoever is served now has come after all of them.
  await vm.connect(path);
  vm.disconnect();
  t.pass(`${rounds} connections`);
}

async function settled(t: Test, before: Resources): Promise<void> {
  await until(t, 'fds are as before', () => openFiles().length <= before.fds);
  await until(t, 'mappings are as before', () => resources().mappings <= before.mappings);
}

t.test(`T11 ${CONNECTIONS} front-ends come and go, and leave nothing`, async (t) => {
  const path = socketPath(t);
  const vm = new TestVm();
  const nic = new VhostNet({ backends: loopback({ copier: new NativeCopier() }) });
  const server = await serve(nic, { socketPath: path });
  t.teardown(async () => {
    vm.close();
    await server.close();
    await nic.close();
  });
  const empty = resources();
  await comeAndGo(t, vm, path, REHEARSAL);
  await settled(t, empty);
  const before = resources();
  await comeAndGo(t, vm, path, CONNECTIONS);
  await settled(t, before);
  const grown = resources().heap - before.heap;
  t.comment(`the heap has grown by ${grown} bytes`);
  t.ok(grown < HEAP_TOLERANCE, `by ${grown} bytes`);
});

tidyTest(t, `T11 ${CONNECTIONS} front-ends of a worker's device leave nothing`, async (t) => {
  const path = socketPath(t);
  const vm = new TestVm();
  t.teardown(() => vm.close());
  const { port1: port, port2: heap } = new MessageChannel();
  t.teardown(() => port.close());
  const workers = nicWorkers(t);
  const server = await workers.serve({ heap }, { socketPath: path }, [heap]);
  let ended = 0;
  server.connections$.subscribe(({ ended$ }) => ended$.subscribe({ complete: () => (ended += 1) }));
  const empty = resources();
  await comeAndGo(t, vm, path, REHEARSAL);
  await settled(t, empty);
  await until(t, 'told of all', () => ended === REHEARSAL + 1);
  const before = { here: resources(), there: await heapOf(port) };
  await comeAndGo(t, vm, path, CONNECTIONS);
  await settled(t, before.here);
  await until(t, 'told of all', () => ended === REHEARSAL + CONNECTIONS + 2);
  const grown = [heapBytes() - before.here.heap, (await heapOf(port)) - before.there];
  t.comment(`the heaps have grown by ${grown} bytes`);
  t.ok(Math.max(...grown) < HEAP_TOLERANCE, `by ${grown} bytes`);
});

async function heapOf(port: MessagePort): Promise<number> {
  port.postMessage('heap');
  const [bytes] = await once(port, 'message');
  return bytes;
}
