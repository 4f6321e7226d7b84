import type { ServiceIdentifier } from 'inversify';
import type { BackendChain, BackendProvider } from '../backend/backend-provider.js';
import type { FrameCopier } from '../backend/frame-copier.js';
import type { PacketSocket } from '../backend/packet-socket.js';
import type { VirtioDevice } from '../device/virtio-device.js';
import type { EventPortFactory } from '../events/event-port.js';
import type { TurnScheduler } from '../events/turn-scheduler.js';
import type { GuestMemory } from '../memory/guest-memory.js';
import type { VhostNetOptions } from '../net/vhost-net-options.js';
import type { VirtqueueFactory } from '../virtqueue/virtqueue.js';

const token = <T>(name: string): ServiceIdentifier<T> => Symbol.for(`rxvhost.${name}`);

/** Where deferred work runs. */
export const TURN_SCHEDULER = token<TurnScheduler>('TurnScheduler');
/** The memory of a device's guest; each device gets one of its own. */
export const GUEST_MEMORY = token<GuestMemory>('GuestMemory');
/** What makes a device's virtqueues. */
export const VIRTQUEUE_FACTORY = token<VirtqueueFactory>('VirtqueueFactory');
/** Makes event ports of eventfds, for the raw request interface; unbound, it takes no fds. */
export const EVENT_PORT_FACTORY = token<EventPortFactory>('EventPortFactory');
/** Moves batches of frames between guest memory and buffers. */
export const FRAME_COPIER = token<FrameCopier>('FrameCopier');
/**
 * Every kind of file that SET_BACKEND knows, in the order of binding: a multi-binding, so that a
 * user's module adds one provider and changes nothing else.
 */
export const BACKEND_PROVIDER = token<BackendProvider>('BackendProvider');
/** The providers as one chain. */
export const BACKEND_CHAIN = token<BackendChain>('BackendChain');
/** What a NIC's queue pairs are attached to, a multi-binding in order of the pairs. */
export const BACKEND = token<PacketSocket>('Backend');
/** MAC, MTU, queue size and so on of the NIC that {@link DEVICE} makes. */
export const NET_OPTIONS = token<VhostNetOptions>('VhostNetOptions');
/** The device that a transport serves. */
export const DEVICE = token<VirtioDevice>('VirtioDevice');
