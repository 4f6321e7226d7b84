/**
 * DPDK's testpmd as the guest: its virtio-user driver connects to rxvhost as a VMM would, without a
 * virtual machine. First it sends as fast as it can into a NIC that takes everything, then it lets
 * frames go round through a NIC that sends every one back.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { needsProgram, needsRoot } from '@rxvhost/test/support/requirements.js';
import { Server } from '@rxvhost/test/support/server.js';
import { Testpmd } from '@rxvhost/test/support/testpmd.js';

const SECONDS = 2;
/** testpmd never sleeps: it gets the last processor for itself. */
const CORE = availableParallelism() - 1;

const requirements = [needsRoot, needsProgram('dpdk-testpmd')];
const missing = requirements.map((unmet) => unmet()).filter((reason) => reason !== undefined);
if (missing.length === 0) {
  await show('null', 'txonly', 0);
  await show('loopback', 'io', 4);
} else {
  console.error(`this example ${missing.join(', ')}: as root, npm run setup:peers, then again`);
  process.exitCode = 1;
}

async function show(backend: string, mode: 'txonly' | 'io', txFirst: number): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'rxvhost-example-'));
  const socketPath = join(folder, 'nic.sock');
  const clean = [() => rmSync(folder, { recursive: true })];
  try {
    console.log(`# rxvhost net --socket-path=${socketPath} --backend=${backend} --once`);
    const server = await Server.start({ socketPath, backend, arguments: ['--once'] });
    clean.unshift(() => server.kill().then());
    const testpmd = await Testpmd.start({
      name: 'rxvhost-example',
      core: CORE,
      mode,
      devices: [`net_virtio_user0,path=${socketPath},queue_size=256`],
    });
    clean.unshift(() => testpmd.kill().then(() => {}));
    console.log(`# ${testpmd.commandLine}`);
    await testpmd.forward({ txFirst });
    await delay(SECONDS * 1000);
    const [port] = await testpmd.stopForwarding();
    await delay(200);
    await testpmd.quit();
    const { statistics } = await server.ended();
    console.log(
      `testpmd, ${mode}: sent ${rate(port?.transmitted)}, received ${rate(port?.received)}`,
    );
    for (const { direction, frames } of statistics.queues) {
      console.log(`rxvhost, ${backend}: ${direction} queue ${rate(frames)}`);
    }
  } finally {
    for (const step of clean) await step();
  }
}

function rate(frames = 0): string {
  return `${frames} frames (${(frames / SECONDS / 1e6).toFixed(2)} million/s)`;
}
