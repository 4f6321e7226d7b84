/**
 * A Linux guest in QEMU whose network card is rxvhost on a tap: starts both, gives the tap and the
 * guest's card an address each, and lets the guest ping the host. The host's end is in a network
 * namespace, so that no address or firewall of this machine is in the way.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { NetworkNamespace } from '@rxvhost/test/support/network-namespace.js';
import { Guest } from '@rxvhost/test/support/qemu.js';
import {
  needsGuestImage,
  needsProgram,
  needsRoot,
  needsTun,
} from '@rxvhost/test/support/requirements.js';
import { Server } from '@rxvhost/test/support/server.js';

const NAMESPACE = 'rxvhost-example';
const TAP = 'tap0';
const HOST = '10.0.0.1';
const GUEST = '10.0.0.2';

const requirements = [needsRoot, needsTun, needsProgram('qemu-system-x86_64'), needsGuestImage];
const missing = requirements.map((unmet) => unmet()).filter((reason) => reason !== undefined);
if (missing.length === 0) await showPing();
else {
  console.error(`this example ${missing.join(', ')}: as root, npm run setup:peers, then again`);
  process.exitCode = 1;
}

async function showPing(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'rxvhost-example-'));
  const socketPath = join(folder, 'nic.sock');
  const namespace = new NetworkNamespace(NAMESPACE);
  const clean = [() => namespace.delete(), () => rmSync(folder, { recursive: true })];
  try {
    const backend = `tap:ifname=${TAP}`;
    console.log(`host# rxvhost net --socket-path=${socketPath} --backend=${backend}`);
    const inside = (command: readonly string[]) => namespace.inside(command);
    const server = await Server.start({ socketPath, backend, inside });
    clean.unshift(() => server.kill());
    console.log(`host# ip address add ${HOST}/24 dev ${TAP}`);
    namespace.ip('address', 'add', `${HOST}/24`, 'dev', TAP);

    const guest = await Guest.start({ socketPath });
    clean.unshift(() => guest.kill());
    console.log(`host# ${guest.commandLine}`);
    const setUp = `ip address add ${GUEST}/24 dev eth0 && ip link set eth0 up`;
    console.log(`guest# ${setUp}`);
    await guest.check(setUp);
    const ping = `ping -c 5 -i 0.2 ${HOST}`;
    console.log(`guest# ${ping}\n${await guest.check(ping)}`);
    await guest.kill();

    const { statistics, duration } = await server.stop();
    for (const { queue, direction, frames, bytes } of statistics.queues) {
      console.log(`queue ${queue} (${direction}): ${frames} frames, ${bytes} bytes`);
    }
    console.log(`rxvhost ended ${Math.ceil(duration)} ms after SIGTERM`);
  } finally {
    for (const step of clean) await step();
  }
}
