import { closeSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { NullSocket, VhostNet, type VirtioDevice } from '@rxvhost/core';
import { closeFd, connectUnix, createMemfd, EventFd, sendWithFds, socketPair } from '@rxvhost/sys';
import fc from 'fast-check';
import { filter, firstValueFrom, merge, skip, timer } from 'rxjs';
import t, { type Test } from 'tap';
import { serve, VERSION, VhostUserFrontend } from '../src/index.js';
import { MEMORY_SIZE, memfdMappings, negotiate, openFds } from './support/bench.js';
import { frame, messageSequence } from './support/message-sequences.js';
import { NOTHING } from './support/random-requests.js';
import { RecordingDevice } from './support/recording-device.js';
import { heapBytes } from './support/resources.js';

/** How many for each kind of device: `RXVHOST_RANDOM_SEQUENCES`, see `npm run test:random-messages`. */
const SEQUENCES = Number(process.env['RXVHOST_RANDOM_SEQUENCES'] ?? 1000);
/** `RXVHOST_RANDOM_SEED` repeats a run. */
const SEED = Number(process.env['RXVHOST_RANDOM_SEED'] ?? Date.now() & 0x7fff_ffff);

t.setTimeout(Math.max(120_000, SEQUENCES * 60));

/** An unknown request after all others, to see that they have been dealt with. */
const LAST = 0xffff_fffe;

async function survives(t: Test, device: VirtioDevice): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'vhost-user-'));
  const socketPath = join(directory, 'socket');
  const server = await serve(device, { socketPath });
  const memory = createMemfd('vhost-user-test', MEMORY_SIZE);
  const event = new EventFd();
  const folder = openSync('/tmp', 'r');
  t.teardown(async () => {
    await server.close();
    closeFd(memory);
    event.close();
    closeSync(folder);
    rmSync(directory, { recursive: true });
  });
  let runs = 0;
  const runQueue = device.runQueue.bind(device);
  device.runQueue = (queue, mode) => {
    runQueue(queue, mode);
    if (mode === 'running') runs += 1;
  };
  let refused = 0;
  let messages = 0;
  server.errors$.subscribe(() => {
    refused += 1;
  });
  server.trace$.subscribe(() => {
    messages += 1;
  });
  const idle = () => firstValueFrom(server.state$.pipe(filter((state) => state === 'listening')));

  // One good connection first, so that everything that is made once has been made.
  const good = async () => {
    const frontend = VhostUserFrontend.connect(socketPath);
    await negotiate(frontend);
    frontend.close();
    await new Promise((resolve) => setImmediate(resolve));
    await idle();
  };
  await good();
  const before = [openFds(), memfdMappings()];
  const held = [heapBytes(), process.memoryUsage.rss()];
  await fc.assert(
    fc.asyncProperty(messageSequence, async (messages) => {
      const socket = connectUnix(socketPath);
      // The other end of what goes over as a channel or a pipe stays open, and does nothing.
      const [idleEnd, passedEnd] = socketPair();
      const fdOf = { event: event.fd, memory, directory: folder, socket: passedEnd };
      const done = firstValueFrom(
        merge(
          server.trace$.pipe(filter(({ request }) => request === `request ${LAST}`)),
          server.state$.pipe(
            skip(1),
            filter((state) => state === 'listening'),
          ),
          timer(20), // noise may have left the server waiting for the rest of a message
        ),
      );
      try {
        for (const { bytes, fds } of [
          ...messages,
          { bytes: frame(LAST, VERSION, NOTHING), fds: [] },
        ]) {
          const passed = fds.map((kind) => fdOf[kind]);
          sendWithFds(socket, bytes, passed);
        }
      } catch {
        // The server has closed the connection already: its right.
      }
      await done;
      for (const fd of [socket, idleEnd, passedEnd]) closeFd(fd);
      await good();
      const after = [openFds(), memfdMappings()];
      if (after.join() !== before.join()) throw new Error(`left behind: ${after}, not ${before}`);
    }),
    { numRuns: SEQUENCES, seed: SEED },
  );
  t.comment(`${SEQUENCES} sequences, seed ${SEED}`);
  t.comment(`${messages} messages, ${refused} refusals, ${runs} times a ring ran`);
  const holds = [heapBytes(), process.memoryUsage.rss()];
  const [heap, resident] = held.map((bytes, n) => `${bytes >> 20} to ${(holds[n] ?? 0) >> 20} MiB`);
  t.comment(`heap from ${heap}, resident from ${resident}; ${before[0]} files open`);
  t.ok(refused > SEQUENCES, 'plenty was refused');
  t.ok(messages > 10 * SEQUENCES, 'and more was not');
  t.ok(runs > SEQUENCES / 4, 'and rings ran');
}

t.test('random messages: a recording device', async (t) => {
  await survives(t, new RecordingDevice());
});

t.test('random messages: a real NIC', async (t) => {
  const nic = new VhostNet({
    iommu: true,
    backends: new NullSocket(),
    mtu: 1500,
    controlQueue: true,
  });
  await survives(t, nic);
  t.teardown(() => nic.close());
});
