import { type EventPort, VhostError, type VirtioDevice } from '@rxvhost/core';
import {
  type GuestMemoryArena,
  type GuestRing,
  lendRegions,
  makeDriverQueue,
  NetFeature,
  vringAddresses,
} from '@rxvhost/guest';
import { VSOCK_QUEUES, VsockFeature, VsockQueue } from '../protocol/features.js';
import type { GuestDevice } from './guest-device.js';

/** Bits that every virtio device has, whatever its kind. */
const { VERSION_1, EVENT_IDX, RING_PACKED, IN_ORDER } = NetFeature;
/** What a guest's driver wants of a vsock device. */
export const VSOCK_DRIVER_FEATURES =
  VERSION_1 | EVENT_IDX | VsockFeature.STREAM | VsockFeature.SEQPACKET;

/** How a {@link VsockCard} is made. */
export interface VsockCardOptions<Event extends EventPort = EventPort> {
  /** Entries in each ring, a power of two unless it is packed; 256 by default. */
  readonly queueSize?: number;
  /**
   * Feature bits that the driver asks for; {@link VSOCK_DRIVER_FEATURES} by default. RING_PACKED and
   * IN_ORDER choose the rings: a device that does not offer them cannot take the card.
   */
  readonly features?: bigint;
  /** Makes a kick or call event: `() => new LocalEvent()` in process, `() => new EventFd()` across. */
  readonly makeEvent: () => Event;
}

/** A vsock device's place in a guest: three rings in its memory, with their events. */
export class VsockCard<Event extends EventPort = EventPort> {
  readonly features: bigint;
  /** By {@link VsockQueue}: receive, transmit, event. */
  readonly rings: readonly GuestRing<Event>[];

  constructor(
    readonly arena: GuestMemoryArena,
    options: VsockCardOptions<Event>,
  ) {
    this.features = options.features ?? VSOCK_DRIVER_FEATURES;
    this.rings = Array.from({ length: VSOCK_QUEUES }, (_, index) => {
      const queue = makeDriverQueue(arena, options.queueSize ?? 256, this.features);
      const addresses = vringAddresses(arena, queue);
      return { index, queue, addresses, kick: options.makeEvent(), call: options.makeEvent() };
    });
  }

  /** Throws `EOPNOTSUPP` when a device does not use rings in the way in which these were made. */
  checkRings(features: bigint): void {
    const lacking = this.features & ~features & (RING_PACKED | IN_ORDER);
    if (lacking === 0n) return;
    throw new VhostError(
      'EOPNOTSUPP',
      `a vsock card whose rings need features 0x${lacking.toString(16)}`,
    );
  }

  /** The device as a driver finds it, reached in the given way. */
  device(features: bigint, reach: Pick<GuestDevice, 'readConfig' | 'reset'>): GuestDevice {
    const ring = (index: number) => this.rings[index] as GuestRing<Event>;
    return {
      features,
      receive: ring(VsockQueue.RECEIVE),
      transmit: ring(VsockQueue.TRANSMIT),
      event: ring(VsockQueue.EVENT),
      readConfig: (offset, length) => reach.readConfig(offset, length),
      reset: () => reach.reset(),
    };
  }

  /** Closes the events. The memory is the arena's owner's. */
  close(): void {
    for (const { kick, call } of this.rings) {
      kick.close();
      call.close();
    }
  }
}

/**
 * Plugs a guest's card into a device in the same process: what a front-end does over vhost-user,
 * without a socket. The events must be usable from both ends (`LocalEvent`); the device closes them.
 * Throws what the device throws.
 */
export function plugInVsock(device: VirtioDevice, card: VsockCard): GuestDevice {
  const features = card.features & device.offeredFeatures;
  card.checkRings(features);
  device.setOwner();
  device.setFeatures(features);
  device.setMemoryRegions(lendRegions(card.arena));
  for (const { index, queue, addresses, kick, call } of card.rings) {
    device.setVringSize(index, queue.size);
    device.setVringBase(index, queue.initialBase);
    device.setVringAddresses(index, addresses);
    device.setVringKick(index, kick);
    device.setVringCall(index, call);
  }
  for (const { index } of card.rings) device.runQueue(index, 'running');
  return card.device(features, {
    readConfig: (offset, length) => device.config.read(offset, length),
    reset: () => device.reset(),
  });
}
