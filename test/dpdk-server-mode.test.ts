/** DPDK's virtio-user that listens itself (`server=1`), and outlives its back-ends. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import t from 'tap';
import { needsProgram, needsRoot, peerTest } from './support/requirements.js';
import { Server } from './support/server.js';
import { type PortCounters, Testpmd } from './support/testpmd.js';

t.setTimeout(600_000);
const folder = mkdtempSync(join(tmpdir(), 'rxvhost-dpdk-server-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));
const needsTestpmd = [needsRoot, needsProgram('dpdk-testpmd')];

/** Waits until frames leave that do not just fill the ring. */
async function goesOn(client: Testpmd): Promise<void> {
  const transmitted = ([port]: PortCounters[]) => port?.transmitted ?? 0;
  const before = transmitted(await client.portStatistics());
  await client.portStatisticsWhen((ports) => transmitted(ports) > before + 2000);
}

for (const packed of [0, 1]) {
  const layout = packed === 1 ? 'packed' : 'split';
  peerTest(t, `T10 a DPDK front-end that listens: ${layout} rings`, needsTestpmd, async (t) => {
    const socketPath = join(folder, `${layout}.sock`);
    const starting = Testpmd.start({
      name: `dpdk-server-${layout}`,
      core: 1,
      mode: 'txonly',
      devices: [`net_virtio_user0,path=${socketPath},queue_size=256,server=1,packed_vq=${packed}`],
    });
    const serve = () => Server.start({ socketPath, connects: true, backend: 'null' });
    let server = await serve();
    t.teardown(() => server.kill());
    const client = await starting;
    t.teardown(() => client.kill());
    await server.says(/connected/);
    await client.forward();
    // One that dies while DPDK sets it up ends DPDK too: that writes to the socket without MSG_NOSIGNAL.
    await goesOn(client);
    for (let death = 0; death < 3; death += 1) {
      await server.kill();
      server = await serve();
      await server.says(/connected/);
      await goesOn(client);
    }
    const [sent] = await client.stopForwarding();
    await delay(200);
    t.same(await client.quit(), { status: 0, signal: null });
    const { statistics } = await server.stop();
    const [, transmit] = statistics.queues;
    t.ok((transmit?.frames ?? 0) > 1000, `${transmit?.frames} frames after the last restart`);
    t.ok((sent?.transmitted ?? 0) > (transmit?.frames ?? 0), `of ${sent?.transmitted}`);
    t.equal(transmit?.errors, 0);
  });
}

peerTest(
  t,
  'T10 a DPDK front-end that listens: every frame is counted',
  needsTestpmd,
  async (t) => {
    const socketPath = join(folder, 'counted.sock');
    const starting = Testpmd.start({
      name: 'dpdk-server-counted',
      core: 1,
      mode: 'txonly',
      devices: [`net_virtio_user0,path=${socketPath},queue_size=256,server=1`],
    });
    const server = await Server.start({ socketPath, connects: true, backend: 'null' });
    t.teardown(() => server.kill());
    const client = await starting;
    t.teardown(() => client.kill());
    await server.says(/connected/);
    await client.forward();
    await delay(500);
    const [sent] = await client.stopForwarding();
    await delay(200);
    t.same(await client.quit(), { status: 0, signal: null });
    await server.says(/disconnected/);
    const { statistics } = await server.stop();
    t.ok((sent?.transmitted ?? 0) > 1000);
    t.equal(statistics.queues[1]?.frames, sent?.transmitted);
    t.equal(statistics.queues[1]?.bytes, (sent?.transmitted ?? 0) * 64);
  },
);
