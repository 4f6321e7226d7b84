import type { Test } from 'tap';
import {
  type EndpointOptions,
  HOST_CID,
  type LinkOptions,
  linkEndpoints,
  Vsock,
  VsockEndpoint,
  VsockFeature,
} from '../../src/index.js';
import { GUEST_CID } from './pair.js';

/** A host's and a guest's sockets, linked, in the real time of the event loop. */
export function vsockPair(
  t: Test,
  options: Partial<EndpointOptions> = {},
  link: LinkOptions = {},
): { host: Vsock; guest: Vsock } {
  const [host, guest] = [HOST_CID, GUEST_CID].map((cid) => {
    const endpoint = new VsockEndpoint({ ...options, cid });
    endpoint.setFeatures(VsockFeature.SEQPACKET);
    return new Vsock(endpoint);
  }) as [Vsock, Vsock];
  const joined = linkEndpoints(host.endpoint, guest.endpoint, link);
  t.teardown(() => joined.unsubscribe());
  return { host, guest };
}
