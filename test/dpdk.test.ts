/** DPDK's virtio-user as front-end of `rxvhost net`. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { needsHugepages, reserveHugepages } from './support/hugepages.js';
import { readPcap, writePcap } from './support/pcap-file.js';
import { needsProgram, needsRoot, peerTest } from './support/requirements.js';
import { Server } from './support/server.js';
import { Testpmd, type TestpmdOptions } from './support/testpmd.js';

t.setTimeout(120_000);
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

async function countsWhatWasSent(t: Test, hugepages: Memory): Promise<void> {
  const { server, socketPath } = await serve(t, `null-${hugepages}`, 'null');
  const client = await connect(t, {
    hugepages,
    mode: 'txonly',
    devices: [`net_virtio_user0,path=${socketPath},queue_size=256`],
  });
  await client.forward();
  await delay(1000);
  const [sent] = await client.stopForwarding();
  await delay(200); // the last frames are still in the ring
  t.same(await client.quit(), { status: 0, signal: null });
  const { exit, statistics } = await server.ended();
  t.same(exit, { status: 0, signal: null });
  t.ok(sent && sent.transmitted > 1000, `testpmd sent ${sent?.transmitted} frames`);
  const [, transmit] = statistics.queues;
  t.equal(transmit?.frames, sent?.transmitted, 'frames');
  t.equal(transmit?.bytes, (sent?.transmitted ?? 0) * 64, 'bytes');
  t.same(transmit?.drops, { refused: 0, malformed: 0, disabled: 0, oversized: 0 });
  t.equal(transmit?.errors, 0);
}

peerTest(t, 'loopback returns every frame intact and in order', needsTestpmd, async (t) => {
  const { server, socketPath } = await serve(t, 'loopback', 'loopback');
  const frames = framesOfManySizes(5000);
  const [source, result] = [join(folder, 'source.pcap'), join(folder, 'result.pcap')];
  writePcap(source, frames);
  const client = await connect(t, {
    mode: 'io',
    devices: [
      `net_pcap0,rx_pcap=${source},tx_pcap=${result}`,
      `net_virtio_user0,path=${socketPath},queue_size=256`,
    ],
  });
  // Send what the file holds instead of throwing away what waits at the start.
  await client.command('set flush_rx off');
  // Where the ring is full, try again instead of dropping.
  await client.command('set burst tx delay 100 retry 10000');
  await client.command('set fwd io retry');
  await client.forward();
  const [, nic] = await client.portStatisticsWhen(([, nic]) => nic?.received === frames.length);
  t.equal(nic?.transmitted, frames.length, 'testpmd sent all frames');
  t.equal(nic?.received, frames.length, 'testpmd received all frames');
  await client.stopForwarding();
  t.same(await client.quit(), { status: 0, signal: null });
  const returned = readPcap(result);
  t.equal(returned.length, frames.length);
  const different = frames.findIndex((frame, index) => !returned[index]?.equals(frame));
  t.equal(different, -1, 'no frame differs from the one sent');
  const { statistics } = await server.ended();
  const bytes = frames.reduce((sum, frame) => sum + frame.length, 0);
  t.match(statistics.queues, [
    { direction: 'receive', frames: frames.length, bytes },
    { direction: 'transmit', frames: frames.length, bytes },
  ]);
});

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
  options: Pick<TestpmdOptions, 'mode' | 'devices' | 'hugepages'>,
): Promise<Testpmd> {
  const client = await Testpmd.start({ name: 'dpdk-test', core: 1, ...options });
  t.teardown(() => client.kill());
  return client;
}

/** Frames of 60 to 1514 bytes; a linear congruential generator fills them, so that runs are equal. */
function framesOfManySizes(count: number): Buffer[] {
  let state = 1;
  const next = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state >>> 16;
  };
  return Array.from({ length: count }, () => {
    const frame = Buffer.alloc(60 + (next() % 1455));
    for (let offset = 0; offset < frame.length; offset++) frame[offset] = next();
    return frame;
  });
}
