import { command, type RequestTable } from '../device/request/request.js';
import { iow } from '../device/request/request-code.js';
import { VRING_FILE } from '../device/request/structures.js';
import { VHOST_REQUESTS } from '../device/request/vhost-requests.js';
import type { VhostNet } from './vhost-net.js';

/** The requests of `/dev/vhost-net`. */
export const NET_REQUESTS = {
  ...VHOST_REQUESTS,
  NET_SET_BACKEND: command({
    code: iow(0x30, VRING_FILE.size),
    argument: VRING_FILE,
    handle: ({ device }, { index, fd }) => device.setBackend(index, fd),
  }),
} satisfies RequestTable<VhostNet>;
