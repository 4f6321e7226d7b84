/** DPDK's virtio-user as front-end of `rxvhost net`. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { returnsEveryFrame } from './support/dpdk-loopback.js';
import { needsHugepages, reserveHugepages } from './support/hugepages.js';
import { needsProgram, needsRoot, peerTest } from './support/requirements.js';
import { Server } from './support/server.js';
import { Testpmd, type TestpmdOptions } from './support/testpmd.js';

t.setTimeout(600_000);
const folder = mkdtempSync(join(tmpdir(), 'rxvhost-dpdk-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));
const needsTestpmd = [needsRoot, needsProgram('dpdk-testpmd')];

type Memory = NonNullable<TestpmdOptions['hugepages']>;

peerTest(t, 'null counts exactly what testpmd sent (no hugepages)', needsTestpmd, (t) =>
  countsWhatWasSent(t, 'none'),
);

peerTest(
  t,
  'null counts exactly what testpmd sent (in-memory hugepages)',
  [...needsTestpmd, needsHugepages],
  async (t) => {
    t.teardown(reserveHugepages(160));
    await countsWhatWasSent(t, 'in-memory');
  },
);

peerTest(t, 'T58 null counts what testpmd sent on 4 queue pairs', needsTestpmd, (t) =>
  countsWhatWasSent(t, 'none', 4),
);

async function countsWhatWasSent(t: Test, hugepages: Memory, pairs = 1): Promise<void> {
  const backend = `null:queues=${pairs}`;
  const { server, socketPath } = await serve(t, `null-${hugepages}-${pairs}`, backend);
  const client = await connect(t, {
    hugepages,
    mode: 'txonly',
    devices: [`net_virtio_user0,path=${socketPath},queue_size=256,queues=${pairs}`],
    arguments: [`--txq=${pairs}`, `--rxq=${pairs}`],
  });
  await client.forward();
  await delay(1000);
  const [sent] = await client.stopForwarding();
  await delay(200); // the last frames are still in the ring
  t.same(await client.quit(), { status: 0, signal: null });
  const { exit, statistics } = await server.ended();
  t.same(exit, { status: 0, signal: null });
  t.ok(sent && sent.transmitted > 1000, `testpmd sent ${sent?.transmitted} frames`);
  t.equal(statistics.queues.length, 2 * pairs);
  const transmitted = statistics.queues.filter(({ direction }) => direction === 'transmit');
  const sum = (name: 'frames' | 'bytes') =>
    transmitted.reduce((total, queue) => total + queue[name], 0);
  t.equal(sum('frames'), sent?.transmitted, 'frames');
  t.equal(sum('bytes'), (sent?.transmitted ?? 0) * 64, 'bytes');
  for (const { queue, frames, drops, errors } of transmitted) {
    t.ok(frames > 0, `queue ${queue} sent frames`);
    t.ok(
      Object.values(drops).every((count) => count === 0),
      `drops ${JSON.stringify(drops)}`,
    );
    t.equal(errors, 0);
  }
}

for (const pairs of [1, 4]) {
  for (const mergeable of [true, false]) {
    const buffers = mergeable ? 'mergeable buffers' : 'buffers for a frame each';
    peerTest(
      t,
      `T58 C7 loopback returns every frame intact and in order: ${pairs} queue pairs, ${buffers}`,
      needsTestpmd,
      (t) =>
        returnsEveryFrame(t, { folder, name: `loopback-${pairs}-${mergeable}`, pairs, mergeable }),
    );
  }
}

async function serve(
  t: Test,
  name: string,
  backend: string,
): Promise<{ server: Server; socketPath: string }> {
  const socketPath = join(folder, `${name}.sock`);
  const server = await Server.start({ socketPath, backend, arguments: ['--once'] });
  t.teardown(() => server.kill());
  return { server, socketPath };
}

async function connect(
  t: Test,
  options: Pick<TestpmdOptions, 'mode' | 'devices' | 'hugepages' | 'arguments'>,
): Promise<Testpmd> {
  const client = await Testpmd.start({ name: 'dpdk-test', core: 1, ...options });
  t.teardown(() => client.kill());
  return client;
}
