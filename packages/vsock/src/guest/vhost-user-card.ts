import { type EventPort, VhostError } from '@rxvhost/core';
import type { SharedRegion, VhostUserFrontend } from '@rxvhost/vhost-user';
import type { GuestDevice } from './guest-device.js';
import type { VsockCard } from './vsock-card.js';

/** An event that another process can be given: an `EventFd`. */
export interface DescriptorPort extends EventPort {
  readonly fd: number;
}

/**
 * Gives a guest's card to a vhost-user back-end: negotiates, shares memory, starts the queues.
 * @param front - connected, no handshake yet; whoever made it closes it
 * @param regions - the card's memory with the fds behind it
 *
 * Rejects with what the back-end answers, with `EOPNOTSUPP` where it does not use rings as the card's
 * were made, and with `EPROTO` from one without a configuration space.
 */
export async function plugInOverVhostUser(
  front: VhostUserFrontend,
  card: VsockCard<DescriptorPort>,
  regions: readonly SharedRegion[],
): Promise<GuestDevice> {
  const { features } = await front.handshake({ features: card.features });
  card.checkRings(features);
  await front.shareMemory(regions);
  for (const { index, queue, addresses, kick, call } of card.rings) {
    await front.startQueue(index, { size: queue.size, addresses, kick, call });
  }
  return card.device(features, {
    async readConfig(offset, length) {
      const request = { offset, flags: 0, bytes: new Uint8Array(length) };
      const { bytes } = await front.request('GET_CONFIG', request);
      if (bytes.length === length) return bytes;
      throw new VhostError('EPROTO', `${bytes.length} bytes of configuration, not ${length}`);
    },
    async reset() {
      if (front.closed) return;
      for (const { index } of card.rings) await front.stopQueue(index);
    },
  });
}
