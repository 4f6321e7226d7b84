import { FEATURE, loopback, VhostNet } from '@rxvhost/core';
import {
  GuestMemoryArena,
  GuestNic,
  type GuestRing,
  NumberedFrameChecker,
  NumberedFrames,
  vringAddresses,
} from '@rxvhost/guest';
import { closeFd, createMemfd, EventFd, mapShared, NativeCopier } from '@rxvhost/sys';
import t, { type Test } from 'tap';
import { benchFor, until } from './support/bench.js';

const GIB = 2 ** 30;
const MIB = 2 ** 20;
const SIZE = 8 * GIB;
/** So that guest address 4 GiB lies in the middle, and the region ends at 9 GiB. */
const GUEST_ADDRESS = GIB;
const USER_ADDRESS = 0x7f00_0000_0000;
const FEATURES = FEATURE.VERSION_1 | FEATURE.EVENT_IDX | FEATURE.INDIRECT_DESC;
const HERE = Uint8Array.of(2, 0, 0, 0, 0, 1);
const FRAMES = 200;
/** What the guest uses of its memory, rings and buffers. */
const USED = 4 * MIB;

const eventFd = (port: GuestRing['kick']): EventFd => {
  if (port instanceof EventFd) return port;
  throw new TypeError('this guest was made with eventfds');
};

/** Everything of the guest's at one place in a region of 8 GiB, and a NIC that is looped back. */
async function exchange(t: Test, at: number, copier?: NativeCopier): Promise<void> {
  const fd = createMemfd('large-memory', SIZE);
  const mapping = mapShared(fd, 0, SIZE);
  const arena = new GuestMemoryArena([
    {
      guestAddress: GUEST_ADDRESS + at,
      userAddress: USER_ADDRESS + at,
      size: USED,
      mapping,
      mappingOffset: at,
    },
  ]);
  // Buffers of one and a half pages from end to end of what is used, so that some cross each border.
  const nic = new GuestNic(arena, {
    features: FEATURES,
    queueSize: 256,
    indirect: true,
    maxFrameLength: 6000,
    receiveBufferLength: 6144,
    makeEvent: () => new EventFd(),
  });
  const device = new VhostNet({ backends: loopback(copier === undefined ? {} : { copier }) });
  const faults: unknown[] = [];
  device.errors$.subscribe((fault) => faults.push(fault));
  const { frontend } = await benchFor(t, device);
  t.teardown(async () => {
    nic.close();
    await device.close();
    mapping.release();
    closeFd(fd);
  });
  const received = new NumberedFrameChecker();
  nic.driver.frames$.subscribe((batch) => {
    for (const frame of batch) received.receive(frame);
  });
  await frontend.handshake({ features: FEATURES });
  const region = { guestAddress: GUEST_ADDRESS, userAddress: USER_ADDRESS, size: SIZE, fd };
  await frontend.shareMemory([region]);
  for (const ring of nic.rings) {
    await frontend.startQueue(ring.index, {
      size: ring.queue.size,
      base: 0,
      addresses: vringAddresses(arena, ring.queue),
      kick: eventFd(ring.kick),
      call: eventFd(ring.call),
    });
  }
  nic.start();
  const frames = new NumberedFrames(HERE, HERE);
  for (let sent = 0; sent < FRAMES; sent += 1) nic.driver.send(frames.make(60 + sent * 29));
  await until(t, 'all came back', () => received.intact === FRAMES);
  t.ok(received.flawless);
  t.strictSame(faults, []);
}

t.setTimeout(120_000);

for (const [at, where] of [
  [0, 'at its beginning'],
  [3 * GIB - USED / 2, 'across guest address 4 GiB'],
  [4 * GIB - USED / 2, 'across offset 4 GiB, where Node 20 ends a buffer'],
  [5.5 * GIB - USED / 2, 'across the beginning of a window'],
  [SIZE - USED, 'at its end'],
] as const) {
  t.test(`T26 a guest with a region of 8 GiB uses it ${where}`, async (t) => {
    await exchange(t, at, new NativeCopier());
  });
}

t.test('T26 so it does without native copying, across guest address 4 GiB', async (t) => {
  await exchange(t, 3 * GIB - USED / 2);
});
