import {
  DEVICE,
  EVENT_PORT_FACTORY,
  type EventPortFactory,
  GUEST_MEMORY,
  type GuestMemory,
  TURN_SCHEDULER,
  type TurnScheduler,
  VIRTQUEUE_FACTORY,
  type VirtqueueFactory,
} from '@rxvhost/core';
import { ContainerModule, type ServiceIdentifier } from 'inversify';
import type { PacketEndpoint } from '../carrier/packet-endpoint.js';
import { VhostVsock, type VhostVsockOptions } from '../device/vhost-vsock.js';

/** Whose connections a vsock device carries. */
export const VSOCK_ENDPOINT: ServiceIdentifier<PacketEndpoint> =
  Symbol.for('rxvhost.PacketEndpoint');
/** The guest's address and so on of the vsock device that {@link DEVICE} makes. */
export const VSOCK_OPTIONS: ServiceIdentifier<Omit<VhostVsockOptions, 'endpoint'>> = Symbol.for(
  'rxvhost.VhostVsockOptions',
);

/**
 * A vsock device as the container's {@link DEVICE}, from the bound {@link VSOCK_ENDPOINT} and
 * {@link VSOCK_OPTIONS}. Whoever gets it closes it: the container only wires.
 */
export const vsockModule = new ContainerModule(({ bind }) => {
  bind<VhostVsock>(VhostVsock)
    .toResolvedValue(
      (
        options: Omit<VhostVsockOptions, 'endpoint'>,
        endpoint: PacketEndpoint,
        turns: TurnScheduler,
        memory: GuestMemory,
        virtqueues: VirtqueueFactory,
        eventPort: EventPortFactory | undefined,
      ) =>
        new VhostVsock({
          turns,
          memory,
          virtqueues,
          ...(eventPort && { eventPort }),
          ...options,
          endpoint,
        }),
      [
        VSOCK_OPTIONS,
        VSOCK_ENDPOINT,
        TURN_SCHEDULER,
        GUEST_MEMORY,
        VIRTQUEUE_FACTORY,
        { optional: true, serviceIdentifier: EVENT_PORT_FACTORY },
      ],
    )
    .inSingletonScope();
  bind(DEVICE).toService(VhostVsock);
});
