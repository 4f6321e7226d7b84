import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { PacketBatch, WindowTable } from '@rxvhost/core';
import t from 'tap';
import {
  closeFd,
  createMemfd,
  EventFd,
  fileStatus,
  NativeCopier,
  openDevice,
} from '../src/index.js';
import { cleanTest, codeOf, eventually, mappingsOf, openFds } from './support/resources.js';

t.setTimeout(300_000); // workers take long to start on a busy machine

const hoarder = fileURLToPath(new URL('./fixtures/hoarding-worker.js', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'sys-workers-'));
t.teardown(() => rmSync(folder, { recursive: true }));

interface Hoard {
  readonly kept: number;
  readonly lent: number;
  readonly window: number;
}

async function startHoarder(ending: string, given: number) {
  const worker = new Worker(hoarder, {
    workerData: { path: join(folder, ending), given, ending },
    // Not what the test runner loads into this process: it would hold fds and memory of its own.
    execArgv: [],
    env: {},
    // A young generation of less than the 16 MiB that V8 lets a thread go over its limit.
    resourceLimits: { maxOldGenerationSizeMb: 32, maxYoungGenerationSizeMb: 8 },
  });
  const ended = new Promise((resolve) => {
    worker.once('exit', resolve);
    worker.on('error', () => {}); // how a worker ends that throws
  });
  const hoard = await new Promise<Hoard>((resolve) => worker.once('message', resolve));
  return { worker, hoard, ended };
}

for (const ending of ['is terminated', 'throws', 'exits', 'runs out of memory']) {
  cleanTest(t, `T92 a worker that ${ending} leaves no fd and no mapping`, async (t) => {
    // The first worker of a process brings fds of Node's own that stay.
    await new Promise((resolve) =>
      new Worker('', { eval: true, execArgv: [] }).once('exit', resolve),
    );
    const given = createMemfd('given', 4096);
    const before = openFds().length;
    const { worker, hoard, ended } = await startHoarder(ending, given);
    t.ok(openFds().length > before + 30);
    t.ok(mappingsOf('hoarded') >= 2);
    closeFd(hoard.lent);
    const next = new EventFd(); // takes the number that has just become free
    t.equal(next.fd, hoard.lent);

    if (ending === 'is terminated') await worker.terminate();
    else worker.postMessage('now');
    await ended;
    t.ok(await eventually(() => mappingsOf('hoarded') === 0), 'mappings');
    t.equal(
      codeOf(() => fileStatus(given)),
      'EBADF',
      'an fd that the worker had taken over',
    );
    next.signal();
    t.equal(next.read(), 1, 'a number that was closed here is not closed again');
    t.equal(fileStatus(hoard.kept).kind, 'regular', 'an fd that it had handed on');
    closeFd(hoard.kept);
    next.close();
    t.ok(await eventually(() => openFds().length <= before - 1), openFds().join(', '));
  });
}

cleanTest(t, 'T92 native code does not follow an address of another thread', async (t) => {
  const given = createMemfd('given', 4096);
  const { worker, hoard } = await startHoarder('is terminated', given);
  const foreign = new WindowTable([
    { address: hoard.window, buffer: new ArrayBuffer(4096), guestBase: 0 },
  ]);
  const batch = new PacketBatch(1);
  batch.reset(foreign, 0);
  batch.segments.push(0, 0, 64);
  batch.lengths[0] = 64;
  batch.firstSegment[1] = 1;
  batch.count = 1;
  t.equal(new NativeCopier().gather(batch, 0, new Uint8Array(64), 0), 1);
  t.equal(batch.results[0], -14, 'EFAULT');
  closeFd(hoard.kept);
  closeFd(hoard.lent);
  await worker.terminate();
});

cleanTest(t, 'a device is opened for both directions, or its errno told', async (t) => {
  const fd = openDevice('/dev/null');
  t.match(fileStatus(fd), { kind: 'character', major: 1, minor: 3 });
  closeFd(fd);
  t.equal(
    codeOf(() => openDevice('/dev/none')),
    'ENOENT',
  );
});
