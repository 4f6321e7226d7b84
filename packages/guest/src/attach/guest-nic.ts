import {
  type EventPort,
  lendMapping,
  type MemoryRegion,
  VhostError,
  type VirtioDevice,
  type VringAddresses,
} from '@rxvhost/core';
import type { GuestMemoryArena } from '../memory/guest-memory-arena.js';
import { NetControlDriver } from '../net/control-driver.js';
import { controlQueueIndex } from '../net/net-features.js';
import { VirtioNetDriver, type VirtioNetDriverOptions } from '../net/virtio-net-driver.js';
import type { DriverQueue, QueueAddresses } from '../queue/driver-queue.js';
import { makeDriverQueue } from '../queue/make-driver-queue.js';

/** One virtqueue of a guest with all that a front-end has to tell the device about it. */
export interface GuestRing<Event extends EventPort = EventPort> {
  /** 2k receives, 2k + 1 transmits, the last one may be the control queue (virtio 1.2, 5.1.2). */
  readonly index: number;
  readonly queue: DriverQueue;
  /** Where the ring lies, as the device is told: in the front-end's address space. */
  readonly addresses: VringAddresses;
  readonly kick: Event;
  readonly call: Event;
}

/** How a {@link GuestNic} is made; RING_PACKED and IN_ORDER in `features` choose the rings. */
export interface GuestNicOptions<Event extends EventPort = EventPort>
  extends VirtioNetDriverOptions {
  /** Entries in each ring, a power of two unless it is packed; 256 by default. */
  readonly queueSize?: number;
  /** Queue pairs; 1 by default. */
  readonly pairs?: number;
  /** Descriptors in each indirect table; 8 by default, where INDIRECT_DESC was negotiated. */
  readonly indirectEntries?: number;
  /** Have a control queue, which CTRL_VQ must have been negotiated for; off by default. */
  readonly controlQueue?: boolean;
  /** Makes a kick or call event: `() => new LocalEvent()` in process, `() => new EventFd()` across. */
  readonly makeEvent: () => Event;
}

/**
 * A whole NIC as the guest has it: rings in guest memory, events, and a driver for each queue pair.
 * It lacks only a device: hand {@link rings} and the arena's regions to a vhost-user front-end, or
 * give it to {@link plugIn}.
 */
export class GuestNic<Event extends EventPort = EventPort> {
  readonly features: bigint;
  readonly rings: readonly GuestRing<Event>[];
  readonly drivers: readonly VirtioNetDriver[];
  /** The control queue's driver, where it was asked for. */
  readonly control: NetControlDriver | undefined;

  /** Throws `EINVAL` for a control queue that was not negotiated. */
  constructor(
    readonly arena: GuestMemoryArena,
    options: GuestNicOptions<Event>,
  ) {
    this.features = options.features;
    const rings: GuestRing<Event>[] = [];
    const pairs = options.pairs ?? 1;
    for (let index = 0; index < 2 * pairs; index += 1) rings.push(makeRing(arena, index, options));
    if (options.controlQueue === true) {
      const index = controlQueueIndex(options.features, pairs);
      if (index !== rings.length) {
        throw new VhostError('EINVAL', 'guest NIC: no control queue with these features and pairs');
      }
      const ring = makeRing(arena, index, options);
      rings.push(ring);
      this.control = new NetControlDriver(arena, ring);
    }
    this.rings = rings;
    const drivers: VirtioNetDriver[] = [];
    for (let index = 0; index < 2 * pairs; index += 2) {
      const links = { receive: this.ring(index), transmit: this.ring(index + 1) };
      drivers.push(new VirtioNetDriver(arena, links, options));
    }
    this.drivers = drivers;
  }

  /** The first pair's driver. */
  get driver(): VirtioNetDriver {
    return this.pair(0);
  }

  /** Ring `index`. Throws `ENOBUFS` where there is none. */
  ring(index: number): GuestRing<Event> {
    const ring = this.rings[index];
    if (ring === undefined) throw new VhostError('ENOBUFS', `guest NIC: no ring ${index}`);
    return ring;
  }

  /** Queue pair `index`'s driver. Throws `ENOBUFS` where there is none. */
  pair(index: number): VirtioNetDriver {
    const driver = this.drivers[index];
    if (driver === undefined) throw new VhostError('ENOBUFS', `guest NIC: no queue pair ${index}`);
    return driver;
  }

  /** Starts every pair's driver. */
  start(): void {
    this.control?.start();
    for (const driver of this.drivers) driver.start();
  }

  /** Ends the drivers and closes the events. The memory is the arena's owner's. */
  close(): void {
    this.control?.close();
    for (const driver of this.drivers) driver.close();
    for (const { kick, call } of this.rings) {
      kick.close();
      call.close();
    }
  }
}

function makeRing<Event extends EventPort>(
  arena: GuestMemoryArena,
  index: number,
  options: GuestNicOptions<Event>,
): GuestRing<Event> {
  const { features, makeEvent } = options;
  const size = options.queueSize ?? 256;
  const queue = makeDriverQueue(arena, size, features, options.indirectEntries);
  return {
    index,
    queue,
    addresses: vringAddresses(arena, queue),
    kick: makeEvent(),
    call: makeEvent(),
  };
}

/** A queue's areas as a front-end names them: in its own address space, nothing logged. */
export function vringAddresses(
  arena: GuestMemoryArena,
  queue: { readonly addresses: QueueAddresses },
): VringAddresses {
  return {
    descriptorTable: arena.userAddress(queue.addresses.descriptorTable),
    availableRing: arena.userAddress(queue.addresses.availableRing),
    usedRing: arena.userAddress(queue.addresses.usedRing),
    logAddress: 0,
    flags: 0,
  };
}

/** The same memory for a device that will release what it is given, while the guest keeps it. */
export function lendRegions(arena: GuestMemoryArena): MemoryRegion[] {
  return arena.regions.map((region) => ({ ...region, mapping: lendMapping(region.mapping) }));
}

/**
 * Plugs a guest's NIC into a device in the same process: what a front-end does over vhost-user,
 * without a socket. The events must be usable from both ends (`LocalEvent`); the device closes them.
 * Throws what the device throws.
 */
export function plugIn(device: VirtioDevice, nic: GuestNic): void {
  device.setOwner();
  device.setFeatures(nic.features);
  device.setMemoryRegions(lendRegions(nic.arena));
  for (const { index, queue, addresses, kick, call } of nic.rings) {
    device.setVringSize(index, queue.size);
    device.setVringBase(index, queue.initialBase);
    device.setVringAddresses(index, addresses);
    device.setVringKick(index, kick);
    device.setVringCall(index, call);
  }
  for (const { index } of nic.rings) device.runQueue(index, 'running');
}
