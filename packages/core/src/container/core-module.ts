import { ContainerModule } from 'inversify';
import { BackendChain, type BackendProvider } from '../backend/backend-provider.js';
import { type FrameCopier, PlainCopier } from '../backend/frame-copier.js';
import type { PacketSocket } from '../backend/packet-socket.js';
import type { EventPortFactory } from '../events/event-port.js';
import { EventLoopTurns, type TurnScheduler } from '../events/turn-scheduler.js';
import { GuestMemory } from '../memory/guest-memory.js';
import { VhostNet } from '../net/vhost-net.js';
import type { VhostNetOptions } from '../net/vhost-net-options.js';
import type { VirtqueueFactory } from '../virtqueue/virtqueue.js';
import { VIRTQUEUES } from '../virtqueue/virtqueues.js';
import {
  BACKEND,
  BACKEND_CHAIN,
  BACKEND_PROVIDER,
  DEVICE,
  EVENT_PORT_FACTORY,
  FRAME_COPIER,
  GUEST_MEMORY,
  NET_OPTIONS,
  TURN_SCHEDULER,
  VIRTQUEUE_FACTORY,
} from './tokens.js';

/** The services that every device needs. Load it first; later modules may rebind what they better. */
export const coreModule = new ContainerModule(({ bind }) => {
  bind<TurnScheduler>(TURN_SCHEDULER)
    .toResolvedValue(() => new EventLoopTurns())
    .inSingletonScope();
  bind<FrameCopier>(FRAME_COPIER)
    .toResolvedValue(() => new PlainCopier())
    .inSingletonScope();
  bind<GuestMemory>(GUEST_MEMORY)
    .toResolvedValue(() => new GuestMemory())
    .inTransientScope();
  bind<VirtqueueFactory>(VIRTQUEUE_FACTORY).toConstantValue(VIRTQUEUES);
  bind<BackendChain>(BACKEND_CHAIN)
    .toResolvedValue(
      (providers: BackendProvider[]) => new BackendChain(providers),
      [{ isMultiple: true, serviceIdentifier: BACKEND_PROVIDER }],
    )
    .inSingletonScope();
});

/**
 * A NIC as the container's {@link DEVICE}, from the bound {@link BACKEND}s and the bound
 * {@link NET_OPTIONS}. Whoever gets it closes it: the container only wires.
 */
export const netModule = new ContainerModule(({ bind }) => {
  bind<VhostNet>(VhostNet)
    .toResolvedValue(
      (
        options: VhostNetOptions | undefined,
        backends: PacketSocket[],
        providers: BackendChain,
        turns: TurnScheduler,
        memory: GuestMemory,
        virtqueues: VirtqueueFactory,
        eventPort: EventPortFactory | undefined,
      ) =>
        new VhostNet({
          turns,
          memory,
          virtqueues,
          providers,
          backends,
          ...(eventPort && { eventPort }),
          ...options,
        }),
      [
        { optional: true, serviceIdentifier: NET_OPTIONS },
        { isMultiple: true, serviceIdentifier: BACKEND },
        BACKEND_CHAIN,
        TURN_SCHEDULER,
        GUEST_MEMORY,
        VIRTQUEUE_FACTORY,
        { optional: true, serviceIdentifier: EVENT_PORT_FACTORY },
      ],
    )
    .inSingletonScope();
  bind(DEVICE).toService(VhostNet);
});
