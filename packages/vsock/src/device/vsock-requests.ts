import { command, INT, iow, type RequestTable, U64, VHOST_REQUESTS } from '@rxvhost/core';
import type { VhostVsock } from './vhost-vsock.js';

/** The requests of `/dev/vhost-vsock`. */
export const VSOCK_REQUESTS = {
  ...VHOST_REQUESTS,
  VSOCK_SET_GUEST_CID: {
    ...command<VhostVsock, bigint>({
      code: iow(0x60, U64.size),
      argument: U64,
      handle: ({ device }, cid) => device.setGuestCid(Number(cid)),
    }),
    // The kernel takes the address before anybody owns the device.
    ownerless: true,
  },
  VSOCK_SET_RUNNING: command<VhostVsock, number>({
    code: iow(0x61, INT.size),
    argument: INT,
    handle: ({ device }, running) => device.setRunning(running !== 0),
  }),
} satisfies RequestTable<VhostVsock>;
