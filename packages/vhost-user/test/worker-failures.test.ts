import { existsSync } from 'node:fs';
import { socketPair } from '@rxvhost/sys';
import t from 'tap';
import { type ProtocolFault, VhostUserFrontend } from '../src/index.js';
import { until } from './support/bench.js';
import { socketPath } from './support/listening.js';
import { resources } from './support/resources.js';
import { nicWorkers, tidyTest } from './support/threads.js';
import { bootVm, codeOf, exchange } from './support/worker-vm.js';

t.setTimeout(300_000); // workers take long to start on a busy machine

const ENDINGS = [
  { onFrame: 'throw', code: 'EIO', message: /a mistake in a backend/ },
  { onFrame: 'exit', code: 'EIO', message: /exited with code 9/ },
  { onFrame: 'fill memory', code: 'ENOMEM', message: /memory/ },
] as const;
for (const { onFrame, code, message } of ENDINGS) {
  tidyTest(t, `T43 a worker ends (${onFrame}): its devices say so, others go on`, async (t) => {
    const workers = nicWorkers(t, { workers: 2, resourceLimits: { maxOldGenerationSizeMb: 48 } });
    const paths = Array.from({ length: 3 }, () => socketPath(t));
    const [bad, good, beside] = await Promise.all([
      workers.serve({ onFrame }, { socketPath: paths[0] as string }),
      workers.serve({}, { socketPath: paths[1] as string }),
      workers.serve({}, { socketPath: paths[2] as string }),
    ]);
    t.equal(bad.threadId, beside.threadId);
    const faults: ProtocolFault[] = [];
    bad.errors$.subscribe((fault) => faults.push(fault));
    beside.errors$.subscribe((fault) => faults.push(fault));
    const badVm = await bootVm(t, paths[0] as string);
    const goodVm = await bootVm(t, paths[1] as string);
    badVm.send(1);
    await Promise.all([bad.closed, beside.closed]);
    t.match(faults, [{ connection: 0, error: { code, message } }, { error: { code } }]);
    t.match(bad.failure, { code, message });
    t.equal(good.failure, undefined);
    t.equal(await codeOf(bad.device.statistics()), 'EIO');
    t.notOk(existsSync(paths[0] as string), 'no socket file stays');
    t.notOk(existsSync(paths[2] as string));
    await exchange(t, goodVm);
    const again = await workers.serve({}, { socketPath: paths[0] as string });
    t.not(again.threadId, bad.threadId);
    await exchange(t, await bootVm(t, paths[0] as string));
    await exchange(t, goodVm);
    t.same(await Promise.all([bad.close(), good.close()]), [undefined, undefined]);
    t.equal(good.failure, undefined, 'it was closed');
  });
}

tidyTest(t, 'T43 a worker that does not answer is terminated, and closing ends', async (t) => {
  const workers = nicWorkers(t, { closeTimeout: 100 });
  const path = socketPath(t);
  const spinning = new Int32Array(new SharedArrayBuffer(8));
  const options = { onFrame: 'spin', release: spinning.buffer } as const;
  const server = await workers.serve(options, { socketPath: path });
  const faults: string[] = [];
  server.errors$.subscribe(({ error }) => faults.push(error.code));
  const vm = await bootVm(t, path);
  vm.send(1);
  await until(t, 'it hangs', () => Atomics.load(spinning, 1) === 1);
  await workers.close();
  t.same(faults, ['ETIMEDOUT']);
  t.notOk(existsSync(path));

  const never = nicWorkers(t, { closeTimeout: 100 });
  const [ours, theirs] = socketPair();
  const words = new Int32Array(new SharedArrayBuffer(8));
  const serving = codeOf(never.serve({ refuse: 'never', release: words.buffer }, { fd: ours }));
  await until(t, 'it is made for ever', () => Atomics.load(words, 1) === 1);
  await never.close();
  t.equal(await serving, 'ETIMEDOUT');
  new VhostUserFrontend(theirs).close();
});

tidyTest(
  t,
  'T43 requests of one device are answered while the worker of another hangs',
  async (t) => {
    const workers = nicWorkers(t);
    const [hung, lively] = [socketPath(t), socketPath(t)];
    const words = new Int32Array(new SharedArrayBuffer(8));
    await workers.serve({ onFrame: 'spin', release: words.buffer }, { socketPath: hung });
    await workers.serve({}, { socketPath: lively });
    const vm = await bootVm(t, hung);
    vm.send(1);
    await until(t, 'it hangs', () => Atomics.load(words, 1) === 1);
    let answered = false;
    const stuck = vm.frontend?.request('GET_FEATURES', undefined).then(() => {
      answered = true;
    });
    for (let round = 0; round < 5; round += 1) {
      const other = await bootVm(t, lively);
      await exchange(t, other);
      await other.frontend?.stopQueue(1);
      other.disconnect();
    }
    t.notOk(answered, 'all of that while the other worker did nothing else');
    Atomics.store(words, 0, 1);
    await stuck;
    t.ok(answered);
  },
);

tidyTest(
  t,
  'T43 a storm of connections and faults is told of, and over when it is over',
  async (t) => {
    const path = socketPath(t);
    const workers = nicWorkers(t);
    const server = await workers.serve({}, { socketPath: path });
    let connected = 0;
    let ended = 0;
    const codes = new Set<string>();
    server.connections$.subscribe(({ ended$ }) => {
      connected += 1;
      ended$.subscribe({ complete: () => (ended += 1) });
    });
    server.errors$.subscribe(({ error }) => codes.add(error.code));
    const before = resources().heap;
    for (let round = 0; round < 20; round += 1) {
      const frontend = VhostUserFrontend.connect(path);
      // No answer is asked for, so that they come as fast as they can be read.
      for (let k = 0; k < 1000; k += 1)
        void frontend.exchange({ request: 200, expectReply: false }).catch(() => {});
      await frontend.request('GET_FEATURES', undefined).catch(() => {});
      frontend.close();
    }
    await until(t, 'all connections have ended', () => connected === 20 && ended === 20);
    t.ok(codes.size > 0, [...codes].join());
    t.ok(resources().heap - before < 8 << 20);
  },
);
