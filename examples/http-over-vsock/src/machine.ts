import { ArrayBufferMapping, LocalEvent } from '@rxvhost/core';
import { GuestMemoryArena } from '@rxvhost/guest';
import {
  GuestVsock,
  HOST_CID,
  plugInVsock,
  VhostVsock,
  Vsock,
  VsockCard,
  VsockEndpoint,
} from '@rxvhost/vsock';

const MEMORY_SIZE = 16 * 1024 * 1024;

/** A host and a guest in this process, with nothing between them but a vsock device's three queues. */
export interface Machine {
  /** Sockets of the host, CID 2. */
  readonly host: Vsock;
  /** Sockets of the guest. */
  readonly guest: Vsock;
  close(): Promise<void>;
}

/** Plugs a guest's vsock driver into a vsock device of the host's. */
export async function startMachine(guestCid: number): Promise<Machine> {
  const endpoint = new VsockEndpoint({ cid: HOST_CID, peerCid: guestCid });
  const device = new VhostVsock({ guestCid, endpoint });

  const mapping = new ArrayBufferMapping(new ArrayBuffer(MEMORY_SIZE));
  const region = { guestAddress: 0, userAddress: 0x7000_0000, size: MEMORY_SIZE, mapping };
  const arena = new GuestMemoryArena([region]);
  const card = new VsockCard(arena, { makeEvent: () => new LocalEvent() });
  const driver = await GuestVsock.probe(arena, plugInVsock(device, card));

  return {
    host: new Vsock(endpoint),
    guest: driver.sockets,
    async close() {
      await driver.remove();
      await device.close();
      card.close();
    },
  };
}
