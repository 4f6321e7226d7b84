import { ArrayBufferMapping, FEATURE, LocalEvent } from '@rxvhost/core';
import { GuestMemoryArena } from '@rxvhost/guest';
import { closeFd, createMemfd, EventFd, mapShared } from '@rxvhost/sys';
import { VhostUserFrontend } from '@rxvhost/vhost-user';
import {
  GuestVsock,
  HOST_CID,
  plugInOverVhostUser,
  plugInVsock,
  VhostVsock,
  VSOCK_DRIVER_FEATURES,
  Vsock,
  VsockCard,
  VsockEndpoint,
} from '@rxvhost/vsock';

export const GUEST_CID = 42;
const MEMORY_SIZE = 32 << 20;
const PLACE = { guestAddress: 0x10_0000, userAddress: 0x7f00_0000_0000, size: MEMORY_SIZE };

interface LocalGuest {
  readonly guest: Vsock;
  readonly host: Vsock;
  close(): Promise<void>;
}

/** What the guest's driver asks for. */
function cardFeatures(packed: boolean): bigint {
  return packed ? VSOCK_DRIVER_FEATURES | FEATURE.RING_PACKED : VSOCK_DRIVER_FEATURES;
}

/** A guest and its host in this process. */
export async function localGuest(packed: boolean): Promise<LocalGuest> {
  const endpoint = new VsockEndpoint({ cid: HOST_CID, peerCid: GUEST_CID });
  const device = new VhostVsock({ guestCid: GUEST_CID, endpoint });
  const mapping = new ArrayBufferMapping(new ArrayBuffer(MEMORY_SIZE));
  const arena = new GuestMemoryArena([{ ...PLACE, mapping }]);
  const card = new VsockCard(arena, {
    features: cardFeatures(packed),
    makeEvent: () => new LocalEvent(),
  });
  const guest = await GuestVsock.probe(arena, plugInVsock(device, card));
  return {
    guest: guest.sockets,
    host: new Vsock(endpoint),
    async close() {
      await guest.remove();
      await device.close();
    },
  };
}

/** A guest in this process whose device another process serves at a socket path. */
export async function remoteGuest(
  path: string,
  packed: boolean,
): Promise<Omit<LocalGuest, 'host'>> {
  const front = VhostUserFrontend.connect(path);
  const fd = createMemfd('bench-vsock-guest', MEMORY_SIZE);
  const mapping = mapShared(fd, 0, MEMORY_SIZE);
  const arena = new GuestMemoryArena([{ ...PLACE, mapping }]);
  const card = new VsockCard(arena, {
    features: cardFeatures(packed),
    makeEvent: () => new EventFd(),
  });
  const device = await plugInOverVhostUser(front, card, [{ ...PLACE, fd }]);
  const guest = await GuestVsock.probe(arena, device);
  return {
    guest: guest.sockets,
    async close() {
      await guest.remove();
      front.close();
      card.close();
      mapping.release();
      closeFd(fd);
    },
  };
}
