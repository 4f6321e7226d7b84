/**
 * Frames of all lengths for a long time, through queues that fill up, discard and go on: each arrives or is
 * counted with a reason, nothing grows, and afterwards nothing is done for nothing.
 * `RXVHOST_SOAK_FRAMES` says how many, 200,000 unless set.
 */
import { FEATURE, link, type PacketSocket } from '@rxvhost/core';
import t from 'tap';
import { footprint } from './support/footprint.js';
import { assembled, MODERN, turn, until } from './support/nics.js';

t.setTimeout(600_000);

const FRAMES = Number(process.env['RXVHOST_SOAK_FRAMES'] ?? 200_000);
const LONGEST = 9014;
/** Too short for the longest frames, which the other guest cannot know. */
const BUFFER = 4096;
const TRANSMIT = 1;
const IDLE = 300;

function machine(backend: PacketSocket, rings: bigint) {
  const { nic, device, close } = assembled(backend, {
    features: MODERN | rings,
    maxFrameLength: LONGEST,
    receiveBufferLength: BUFFER,
  });
  nic.start();
  const queue = (index: number) => {
    const { frames, errors, drops } = device.statistics().queues[index] ?? {};
    const dropped = Object.values(drops ?? {}).reduce((sum, count) => sum + count, 0);
    return { frames: frames ?? 0, errors: errors ?? 0, drops, dropped };
  };
  return { nic, device, queue, close };
}

for (const [name, rings] of [
  ['split', 0n],
  ['packed', FEATURE.RING_PACKED],
] as const) {
  t.test(`T63 every frame arrives or is counted with a reason, on ${name} rings`, async (t) => {
    const [near, far] = link({ frames: 512, bytes: 1 << 20 });
    const sender = machine(near, rings);
    const receiver = machine(far, rings);
    const before = footprint();
    let sent = 0;
    let running = true;
    while (sent < FRAMES) {
      for (let burst = 0; burst < 300; burst += 1) {
        const frame = new Uint8Array(14 + ((sent * 7919) % (LONGEST - 13)));
        if (!sender.nic.driver.enqueue(frame)) break;
        sent += 1;
      }
      sender.nic.driver.flush();
      if (sent % 50 === 0) {
        running = !running;
        sender.device.runQueue(TRANSMIT, running ? 'running' : 'discarding');
      }
      await turn();
    }
    sender.device.runQueue(TRANSMIT, 'running');
    const out = () => sender.queue(TRANSMIT);
    await until(() => out().frames + out().dropped === sent);
    const arrived = () => receiver.queue(0);
    await until(() => arrived().frames + arrived().dropped === out().frames);
    await until(() => receiver.nic.driver.statistics().receivedFrames === arrived().frames);
    t.same([out().errors, arrived().errors], [0, 0]);
    t.same(out().drops, { ...out().drops, disabled: out().dropped }, 'sending: discarded');
    t.same(arrived().drops, { ...arrived().drops, oversized: arrived().dropped }, 'too long');
    t.ok(out().dropped > 0 && arrived().dropped > 0, 'both occur');

    const busy = process.cpuUsage();
    await new Promise((resolve) => setTimeout(resolve, IDLE));
    const { user, system } = process.cpuUsage(busy);
    t.ok((user + system) / 1000 < IDLE / 2, 'idle afterwards');
    process.stderr.write(
      `soak on ${name} rings: ${sent} frames, ${out().dropped} discarded, ` +
        `${arrived().dropped} too long; before: ${before}; after: ${footprint()}\n`,
    );
    await sender.close();
    await receiver.close();
  });
}
