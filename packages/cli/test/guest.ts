import { DRIVER_FEATURES, GuestMemoryArena, GuestNic } from '@rxvhost/guest';
import { closeFd, createMemfd, EventFd, mapShared } from '@rxvhost/sys';
import type { VhostUserFrontend } from '@rxvhost/vhost-user';

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
