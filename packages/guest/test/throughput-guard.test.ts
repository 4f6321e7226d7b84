/**
 * Throughput as counted work, since time says little on a busy machine: frames a batch, calls, kicks
 * and the share of the ring in use must not collapse, in neither direction, whatever is negotiated
 * (T59: a NIC that fell to a thousandth when mergeable buffers met indirect descriptors).
 */
import { FEATURE, type PacketBatch, type PacketSocket } from '@rxvhost/core';
import { NEVER, Subject } from 'rxjs';
import t from 'tap';
import { NetFeature } from '../src/index.js';
import { MODERN, plugged, sendAll, turn, until } from './support/nics.js';

const RING = 1024;
const FRAMES = 8 * RING;

/** Takes every frame, gives as many as it was told to, and counts how often it is asked. */
class CountingSocket implements PacketSocket {
  readonly headerLength = 0;
  readonly readable$ = new Subject<void>();
  readonly writable$ = NEVER;
  readonly sends: number[] = [];
  readonly receives: number[] = [];
  toGive = 0;
  readonly #frame: Uint8Array;

  constructor(length: number) {
    this.#frame = new Uint8Array(length).fill(7);
  }

  send(batch: PacketBatch, first: number): number {
    const frames = batch.count - first;
    for (let frame = first; frame < batch.count; frame += 1) {
      batch.results[frame] = batch.frameLength(frame);
    }
    this.sends.push(frames);
    return frames;
  }

  receive(batch: PacketBatch): number {
    while (this.toGive > 0 && batch.deliver(this.#frame) === 'delivered') this.toGive -= 1;
    if (batch.frameCount > 0) this.receives.push(batch.frameCount);
    return batch.filledChains();
  }

  close(): void {}
}

const FORMS = [
  { indirect: false, mergeable: false },
  { indirect: true, mergeable: false },
  { indirect: false, mergeable: true },
  { indirect: true, mergeable: true },
];
const describe = ({ indirect, mergeable }: { indirect: boolean; mergeable: boolean }) =>
  `indirect ${indirect}, mergeable ${mergeable}`;
const SPREAD = { headerDescriptors: 1, frameDescriptors: 1 };

/** A guest with a ring of 1024 entries; with indirect tables each chain is one of two buffers. */
function guest(
  { indirect, mergeable }: { indirect: boolean; mergeable: boolean },
  socket: CountingSocket,
  more: { maxFrameLength?: number } = {},
) {
  const merge = mergeable ? NetFeature.MRG_RXBUF : 0n;
  const shapes = indirect ? { transmitShape: SPREAD, receiveShape: SPREAD } : {};
  const options = { features: MODERN | merge, queueSize: RING, indirect, ...shapes, ...more };
  return plugged(socket, options);
}

const mean = (counts: readonly number[]) =>
  counts.reduce((sum, count) => sum + count, 0) / counts.length;

for (const form of FORMS) {
  t.test(`T59 a full ring leaves in full batches: ${describe(form)}`, async (t) => {
    const socket = new CountingSocket(60);
    const { nic, device, close } = guest(form, socket);
    const frame = new Uint8Array(60).fill(1);
    let enqueued = 0;
    while (nic.driver.enqueue(frame)) enqueued += 1;
    nic.driver.flush();
    t.equal(enqueued, RING, 'the whole ring is in use');
    await until(() => device.statistics().queues[1]?.frames === RING);
    t.same(socket.sends, [256, 256, 256, 256], 'batches as large as they get');
    t.equal(device.statistics().queues[1]?.kicks, 1, 'one kick');
    await close();
  });

  t.test(`T59 a stream of frames leaves in large batches: ${describe(form)}`, async (t) => {
    const socket = new CountingSocket(60);
    const { nic, device, close } = guest(form, socket);
    const frames = Array.from({ length: FRAMES }, () => new Uint8Array(60).fill(2));
    await sendAll(nic, frames);
    await until(() => device.statistics().queues[1]?.frames === FRAMES);
    const { kicks = 0, calls = 0 } = device.statistics().queues[1] ?? {};
    t.ok(mean(socket.sends) >= 64, `${mean(socket.sends)} frames a batch`);
    t.ok(kicks <= FRAMES / 64, `${kicks} kicks`);
    t.ok(calls <= FRAMES / 64, `${calls} calls`);
    await close();
  });

  t.test(`T59 a stream of frames arrives in large batches: ${describe(form)}`, async (t) => {
    const socket = new CountingSocket(60);
    const { nic, device, close } = guest(form, socket);
    await turn(4);
    socket.toGive = FRAMES;
    socket.readable$.next();
    await until(() => nic.driver.statistics().receivedFrames === FRAMES);
    const { kicks = 0, calls = 0 } = device.statistics().queues[0] ?? {};
    t.ok(mean(socket.receives) >= 64, `${mean(socket.receives)} frames a batch`);
    t.ok(kicks <= FRAMES / 64, `${kicks} kicks`);
    t.ok(calls <= FRAMES / 64, `${calls} calls`);
    await close();
  });
}

t.test('T59 frames over many mergeable buffers each fill no more than they need', async (t) => {
  const socket = new CountingSocket(9000);
  const { nic, device, close } = plugged(socket, {
    features: MODERN | NetFeature.MRG_RXBUF,
    queueSize: 256,
    receiveBufferLength: 1526,
  });
  await turn(4);
  socket.toGive = 2000;
  socket.readable$.next();
  await until(() => nic.driver.statistics().receivedFrames === 2000);
  // Six buffers a frame: a ring of 256 holds 42.
  t.ok(mean(socket.receives) >= 10, `${mean(socket.receives)} frames a batch`);
  t.ok((device.statistics().queues[0]?.calls ?? 0) <= 2000 / 10);
  await close();
});

t.test('T59 without EVENT_IDX calls and kicks stay few as well', async (t) => {
  const socket = new CountingSocket(60);
  const { nic, device, close } = plugged(socket, {
    features: FEATURE.VERSION_1,
    queueSize: RING,
  });
  await turn(4);
  socket.toGive = FRAMES;
  socket.readable$.next();
  await until(() => nic.driver.statistics().receivedFrames === FRAMES);
  await sendAll(
    nic,
    Array.from({ length: FRAMES }, () => new Uint8Array(60)),
  );
  await until(() => device.statistics().queues[1]?.frames === FRAMES);
  for (const { queue, kicks, calls } of device.statistics().queues) {
    t.ok(kicks <= FRAMES / 32 && calls <= FRAMES / 32, `queue ${queue}: ${kicks}, ${calls}`);
  }
  await close();
});
