import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { VhostError } from '@rxvhost/core';
import { fileStatus, socketPair } from '@rxvhost/sys';
import { firstValueFrom, take, toArray } from 'rxjs';
import t from 'tap';
import { DeviceWorkers, VhostUserFrontend, VhostUserServer } from '../src/index.js';
import { until } from './support/bench.js';
import { socketPath } from './support/listening.js';
import { RecordingDevice } from './support/recording-device.js';
import { nicWorkers, tidyTest } from './support/threads.js';
import { bootVm, codeOf, exchange } from './support/worker-vm.js';

t.setTimeout(300_000); // workers take long to start on a busy machine

tidyTest(t, 'a device in a worker carries frames, and tells what it does', async (t) => {
  const path = socketPath(t);
  const workers = nicWorkers(t);
  const server = await workers.serve(
    { mac: Uint8Array.of(2, 0, 0, 0, 0, 9) },
    { socketPath: path },
  );
  const seen: string[] = [];
  server.state$.subscribe((state) => seen.push(state));
  server.device.state$.subscribe((state) => seen.push(`device ${state}`));
  server.connections$.subscribe(({ id, pid, ended$ }) => {
    seen.push(`front-end ${id}${pid === process.pid ? '' : ` of ${pid}`}`);
    ended$.subscribe({ complete: () => seen.push(`front-end ${id} gone`) });
  });
  const vm = await bootVm(t, path);
  t.same(
    (await vm.frontend?.request('GET_CONFIG', { offset: 0, flags: 0, bytes: new Uint8Array(6) }))
      ?.bytes,
    Uint8Array.of(2, 0, 0, 0, 0, 9),
  );
  await exchange(t, vm);
  const [first, second] = await firstValueFrom(server.device.stats$.pipe(take(2), toArray()));
  t.equal(first?.queues[1]?.frames, 50);
  t.equal(second?.queues[0]?.frames, 50);
  t.equal((await server.device.statistics()).queues[1]?.bytes, 50 * 200);
  vm.disconnect();
  await until(t, 'the front-end is gone', () => seen.at(-1) === 'listening');
  await server.close();
  t.equal((await server.device.statistics()).queues[1]?.frames, 50, 'the last statistics stay');
  t.same(seen, [
    'listening',
    'device unowned',
    'connected',
    'front-end 1',
    'device owned',
    'device running',
    'device owned',
    'front-end 1 gone',
    'device unowned',
    'listening',
    'device closed',
    'closed',
  ]);
  t.notOk(existsSync(path));
  t.same([workers.threads, workers.servers.length], [0, 0], 'a worker without devices ends');
  t.equal(server.close(), server.close());
});

tidyTest(
  t,
  'what guests and front-ends do wrong arrives with its code and its cause',
  async (t) => {
    const path = socketPath(t);
    const server = await nicWorkers(t).serve({}, { socketPath: path });
    const faults: string[] = [];
    server.errors$.subscribe(({ connection, request, error }) =>
      faults.push(`${connection} ${request} ${error.code}`),
    );
    server.device.errors$.subscribe(({ queue, error }) => {
      faults.push(`queue ${queue} ${error instanceof VhostError ? error.message : error}`);
    });
    const vm = await bootVm(t, path);
    const refused = vm.frontend?.request('SET_VRING_NUM', { index: 0, num: 3 });
    t.equal(await codeOf(refused ?? Promise.resolve()), 'EBUSY');
    const { availableRing } = vm.nic.ring(1).queue.addresses;
    vm.arena.writeUint16(availableRing + 2, 1);
    vm.arena.writeUint16(availableRing + 4, 0xffff); // a head that there is not
    vm.nic.ring(1).kick.signal();
    await until(t, 'both faults', () => faults.length >= 2);
    t.match(faults, ['1 SET_VRING_NUM EBUSY', /^queue 1 available head 65535 [^()]* \(EINVAL\)$/]);
  },
);

tidyTest(t, 'serve rejects with what went wrong over there', async (t) => {
  const path = socketPath(t);
  const endpoint = { socketPath: path };
  const workers = nicWorkers(t, { workers: 1 });
  const error = await workers.serve({ refuse: 'VhostError' }, endpoint).catch((error) => error);
  t.match(error, {
    code: 'ENODEV',
    message: 'no such tap (ENODEV)',
    cause: { message: 'not here' },
  });
  t.match(await workers.serve({ refuse: 'TypeError' }, endpoint).catch((error) => error), {
    code: 'EIO',
    cause: { message: 'this is a mistake' },
  });
  t.equal(await codeOf(workers.serve({ refuse: 'exit' }, endpoint)), 'EIO');
  const uncloneable = { mac: () => {} } as unknown as object;
  t.equal(await codeOf(workers.serve(uncloneable, endpoint)), 'EINVAL');
  t.equal(workers.threads, 0);

  const other = new VhostUserServer(new RecordingDevice(), endpoint);
  t.equal(await codeOf(workers.serve({}, endpoint)), 'EADDRINUSE');
  await other.close();
  await workers.serve({}, endpoint);
  t.equal(await codeOf(workers.serve({}, endpoint)), 'EADDRINUSE');
  t.equal(workers.threads, 1, 'the device that is there has not noticed');
  await workers.close();
  t.equal(await codeOf(workers.serve({}, endpoint)), 'ESHUTDOWN');

  const module = fileURLToPath(new URL('fixtures/no-factory-worker.js', import.meta.url));
  t.equal(await codeOf(new DeviceWorkers({ module }).serve(undefined, endpoint)), 'EIO');
  t.equal(await codeOf(new DeviceWorkers({ module: '/no' }).serve(undefined, endpoint)), 'EIO');
  t.throws(() => new DeviceWorkers({ module, workers: 0 }), { code: 'EINVAL' });
});

tidyTest(t, 'an inherited socket is served once, and closed in any case', async (t) => {
  const workers = nicWorkers(t);
  const [ours, theirs] = socketPair();
  const server = await workers.serve({}, { fd: ours });
  t.throws(() => fileStatus(ours), { code: 'EBADF' }, 'it is the worker alone that has it');
  const frontend = new VhostUserFrontend(theirs);
  await frontend.handshake({ features: 1n << 32n });
  frontend.close();
  await server.closed;
  const [refused, left] = socketPair();
  await codeOf(workers.serve({ refuse: 'exit' }, { fd: refused }));
  t.throws(() => fileStatus(refused), { code: 'EBADF' });
  new VhostUserFrontend(left).close();
});

tidyTest(t, 'devices are spread over the workers that there may be', async (t) => {
  const two = nicWorkers(t, { workers: 2 });
  const paths = Array.from({ length: 4 }, () => socketPath(t));
  const servers = await Promise.all(paths.map((path) => two.serve({}, { socketPath: path })));
  const threads = servers.map(({ threadId }) => threadId);
  t.equal(new Set(threads).size, 2);
  t.same([threads[2], threads[3]], [threads[0], threads[1]]);
  await servers[1]?.close();
  await servers[3]?.close();
  t.equal(two.threads, 1);
  const next = await two.serve({}, { socketPath: socketPath(t) });
  t.notOk(threads.includes(next.threadId), 'a new thread takes the place of one that has ended');

  const each = nicWorkers(t);
  const own = [];
  for (let k = 0; k < 3; k += 1) own.push(await each.serve({}, { socketPath: socketPath(t) }));
  t.equal(new Set(own.map(({ threadId }) => threadId)).size, 3, 'one each, unless told otherwise');
});
