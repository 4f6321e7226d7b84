import { setTimeout as delay } from 'node:timers/promises';
import {
  DRIVER_FEATURES,
  GuestMemoryArena,
  GuestNic,
  NumberedFrameChecker,
  NumberedFrames,
} from '@rxvhost/guest';
import { closeFd, createMemfd, EventFd, mapShared } from '@rxvhost/sys';
import type { VhostUserFrontend } from '@rxvhost/vhost-user';
import type { Test } from 'tap';

const MEMORY_SIZE = 2 * 1024 * 1024;
const GUEST_ADDRESS = 0;
const USER_ADDRESS = 0x7f00_0000_0000;

/** A guest in this process whose NIC is a back-end in another one. */
export interface RemoteGuest {
  readonly frontend: VhostUserFrontend;
  readonly nic: GuestNic;
  close(): void;
}

/** Connects to a back-end as a VMM does, negotiates, shares memory, starts the queues. */
export async function connectGuest(frontend: VhostUserFrontend): Promise<RemoteGuest> {
  const { features } = await frontend.handshake({ features: DRIVER_FEATURES });
  const fd = createMemfd('cli-test-guest', MEMORY_SIZE);
  const mapping = mapShared(fd, 0, MEMORY_SIZE);
  const region = { guestAddress: GUEST_ADDRESS, userAddress: USER_ADDRESS, size: MEMORY_SIZE };
  const arena = new GuestMemoryArena([{ ...region, mapping }]);
  const nic = new GuestNic(arena, { features, makeEvent: () => new EventFd() });
  await frontend.shareMemory([{ ...region, fd }]);
  closeFd(fd);
  for (const { index, queue, addresses, kick, call } of nic.rings) {
    const events = { kick: kick as EventFd, call: call as EventFd };
    await frontend.startQueue(index, { size: queue.size, addresses, ...events });
  }
  nic.start();
  return {
    frontend,
    nic,
    close() {
      frontend.close();
      nic.close();
      mapping.release();
    },
  };
}

/** Sends frames through the loop and waits until all have come back. */
export async function exchange(t: Test, { nic }: RemoteGuest, count: number): Promise<void> {
  const frames = new NumberedFrames(new Uint8Array(6).fill(2), new Uint8Array(6).fill(4));
  const checker = new NumberedFrameChecker();
  const arrived = new Promise<void>((resolve) => {
    nic.driver.frames$.subscribe((batch) => {
      for (const frame of batch) checker.receive(frame);
      if (checker.intact === count) resolve();
    });
  });
  for (let sent = 0; sent < count; sent += 1) {
    const frame = frames.make(64 + sent);
    while (!nic.driver.send(frame)) await delay(1);
  }
  await arrived;
  t.ok(checker.flawless, `${count} frames came back intact and in order`);
}
