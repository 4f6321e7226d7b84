import { ArrayBufferMapping, LocalEvent } from '@rxvhost/core';
import { GuestMemoryArena } from '@rxvhost/guest';
import type { Test } from 'tap';
import {
  type EndpointOptions,
  GuestVsock,
  type GuestVsockOptions,
  HOST_CID,
  plugInVsock,
  VhostVsock,
  Vsock,
  VsockCard,
  type VsockCardOptions,
  VsockEndpoint,
} from '../../src/index.js';
import { GUEST_CID } from './pair.js';

const MEMORY = 16 << 20;

/** Guest memory that is nobody else's. */
export function newArena(size = MEMORY): GuestMemoryArena {
  const mapping = new ArrayBufferMapping(new ArrayBuffer(size));
  const place = { guestAddress: 0x10_0000, userAddress: 0x7f00_0000_0000, size };
  return new GuestMemoryArena([{ ...place, mapping }]);
}

/** A guest with its vsock driver, and the host's device that it is plugged into, in one process. */
export interface Machine {
  readonly arena: GuestMemoryArena;
  readonly card: VsockCard;
  readonly device: VhostVsock;
  readonly guest: GuestVsock;
  readonly host: Vsock;
}

/** Starts a machine; it is taken down with the test. */
export async function startMachine(
  t: Test,
  options: {
    guest?: GuestVsockOptions;
    host?: Partial<EndpointOptions>;
    card?: Partial<VsockCardOptions>;
  } = {},
): Promise<Machine> {
  const endpoint = new VsockEndpoint({ ...options.host, cid: HOST_CID, peerCid: GUEST_CID });
  const device = new VhostVsock({ guestCid: GUEST_CID, endpoint });
  const arena = newArena();
  const card = new VsockCard(arena, { makeEvent: () => new LocalEvent(), ...options.card });
  const guest = await GuestVsock.probe(arena, plugInVsock(device, card), options.guest);
  t.teardown(async () => {
    await guest.remove();
    await device.close();
    card.close();
  });
  return { arena, card, device, guest, host: new Vsock(endpoint) };
}
