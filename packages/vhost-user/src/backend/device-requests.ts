import {
  applyIotlbMessage,
  type EventPort,
  type IotlbMessage,
  VhostError,
  type VirtioDevice,
} from '@rxvhost/core';
import { closeFd, createMemfd, EventFd, mapShared } from '@rxvhost/sys';
import type { ReceivedFds } from '../channel/received-fds.js';
import type { BackendRequests } from '../protocol/backend-requests.js';
import type { DeviceStateChannel, DeviceStateParameters } from '../protocol/device-state.js';
import {
  hasFeature,
  VHOST_NET_F_VIRTIO_NET_HDR,
  VHOST_USER_F_PROTOCOL_FEATURES,
} from '../protocol/features.js';
import { toAddress } from '../protocol/layout.js';
import type {
  ConfigPayload,
  InflightDescription,
  InflightMemory,
  LogDescription,
  RegionDescription,
  VringAddress,
} from '../protocol/payloads.js';
import { type ChannelReports, DeviceReports, UNREPORTED } from './device-reports.js';
import { DeviceStateTransfer } from './device-state.js';
import { InflightRegions } from './inflight-regions.js';
import { MAX_MEMORY_SLOTS, MemoryRegions } from './memory-regions.js';
import { MigrationLog } from './migration-log.js';
import { checkProtocolFeatures, offeredProtocolFeatures } from './offered-features.js';
import { PollingPort } from './polling-port.js';
import { Vrings } from './vrings.js';

/** Bit 0 of the flags of SET_VRING_ADDR: log writes to the used ring. */
const VRING_F_LOG = 1;
/** Flags of SET_CONFIG: the write restores a migrated device. */
const CONFIG_MIGRATION = 1;
const PAGE = 4096;

/**
 * Carries out a front-end's requests on a {@link VirtioDevice}. Holds what is the connection's and
 * not the device's: protocol features, status, and what is known of rings and memory so far.
 */
export class DeviceRequests implements BackendRequests {
  protocolFeatures = 0n;
  readonly #memory: MemoryRegions;
  readonly #vrings: Vrings;
  readonly #log: MigrationLog;
  readonly #reports: DeviceReports;
  readonly #inflight: InflightRegions;
  readonly #state: DeviceStateTransfer;
  #status = 0;
  #ownerAnnounced = false;

  /**
   * @param device - owned by this connection already
   * @param reports - told what happens on the back-end's own channel
   */
  constructor(
    readonly device: VirtioDevice,
    reports: ChannelReports = UNREPORTED,
  ) {
    this.#reports = new DeviceReports(device, reports);
    this.#memory = new MemoryRegions(device);
    this.#log = new MigrationLog(device);
    this.#inflight = new InflightRegions(device);
    this.#state = new DeviceStateTransfer(device);
    this.#vrings = new Vrings(device, () => this.#memory.count > 0);
  }

  offeredFeatures(): bigint {
    const offered = this.device.offeredFeatures & ~VHOST_NET_F_VIRTIO_NET_HDR;
    return offered | VHOST_USER_F_PROTOCOL_FEATURES;
  }

  setFeatures(features: bigint): void {
    if ((features & ~this.offeredFeatures()) !== 0n) {
      throw new VhostError('EOPNOTSUPP', `0x${features.toString(16)} has features not offered`);
    }
    if (this.#inflight.dependsOn(features)) this.#vrings.mustAllBeStopped('the kind of its ring');
    const logFollows = hasFeature(this.protocolFeatures, 'LOG_SHMFD');
    this.#log.setFeatures(features & ~VHOST_USER_F_PROTOCOL_FEATURES, logFollows);
    this.#inflight.featuresChanged();
    if ((features & VHOST_USER_F_PROTOCOL_FEATURES) === 0n) this.#vrings.enableAll();
  }

  offeredProtocolFeatures(): bigint {
    return offeredProtocolFeatures(this.device);
  }

  setProtocolFeatures(features: bigint): void {
    checkProtocolFeatures(features, this.offeredProtocolFeatures());
    this.#memory.useGuestAddresses(hasFeature(features, 'GPA_ADDRESSES'));
    const inBand = hasFeature(features, 'INBAND_NOTIFICATIONS');
    if (inBand) this.#vrings.notifyInBand(this.#reports);
    else this.#vrings.notifyByEvents();
    this.protocolFeatures = features;
  }

  /** The connection owns the device from its beginning: some front-ends never say so. */
  setOwner(): void {
    if (this.#ownerAnnounced) throw new VhostError('EBUSY', 'the device is owned already');
    this.#ownerAnnounced = true;
  }

  /** Deprecated by the specification: it may disable the rings and must not discard anything. */
  resetOwner(): void {
    this.#vrings.disableAll();
    this.#ownerAnnounced = false;
  }

  /**
   * Rings and features as at connection. The memory stays: with CONFIGURE_MEM_SLOTS a front-end
   * tells only differences, and would not share it again. Waits for frames that are outstanding.
   */
  resetDevice(): void | Promise<void> {
    this.#vrings.stopAll();
    const settled = this.#vrings.settled();
    if (settled === undefined) this.#resetStopped();
    else return settled.then(() => this.#resetStopped());
  }

  #resetStopped(): void {
    this.#vrings.reset();
    this.#log.setFeatures(0n, false);
    this.#inflight.forget();
    this.#status = 0;
  }

  queueCount(): number {
    return this.device.advertisedQueues;
  }

  setMemoryTable(regions: readonly RegionDescription[], fds: ReceivedFds): void {
    this.#memory.replace(regions, fds);
    this.#vrings.memoryChanged();
  }

  maxMemorySlots(): number {
    return MAX_MEMORY_SLOTS;
  }

  addMemoryRegion(region: RegionDescription, fds: ReceivedFds): void {
    this.#memory.add(region, fds);
    this.#vrings.memoryChanged();
  }

  removeMemoryRegion(region: RegionDescription): void {
    this.#memory.remove(region);
    this.#vrings.memoryChanged();
  }

  setLog(log: LogDescription, fds: ReceivedFds): void {
    this.#log.set(log, fds.peek(0));
  }

  setLogEvent(fds: ReceivedFds): void {
    this.device.setLogEvent(adopt(fds));
  }

  makeInflight(wanted: InflightDescription): InflightMemory {
    return this.#inflight.make(wanted);
  }

  setInflight(description: InflightDescription, fds: ReceivedFds): void {
    this.#vrings.mustAllBeStopped('its inflight memory');
    this.#inflight.set(description, fds.peek(0));
  }

  setVringSize(index: number, size: number): void {
    this.#vrings.setSize(index, size);
  }

  setVringAddress(address: VringAddress): void {
    const logged = (address.flags & VRING_F_LOG) !== 0;
    this.#vrings.setAddress(address, logged ? toAddress(address.logAddress) : 0);
  }

  setVringBase(index: number, base: number): void {
    this.#vrings.setBase(index, base);
  }

  stopVring(index: number): number | Promise<number> {
    return this.#vrings.stop(index);
  }

  setVringKick(index: number, fds: ReceivedFds | undefined): void {
    this.#vrings.check(index);
    this.#vrings.setKick(index, fds ? adopt(fds) : new PollingPort());
  }

  kickVring(index: number): void {
    this.#vrings.kick(index);
  }

  setVringCall(index: number, fds: ReceivedFds | undefined): void {
    this.#vrings.check(index);
    this.#vrings.setCall(index, fds && adopt(fds));
  }

  setVringError(index: number, fds: ReceivedFds | undefined): void {
    this.#vrings.check(index);
    this.#vrings.setError(index, fds && adopt(fds));
  }

  enableVring(index: number, enable: number): void {
    if (enable > 1) throw new VhostError('EINVAL', `SET_VRING_ENABLE: ${enable} is not 0 or 1`);
    this.#vrings.enable(index, enable === 1);
  }

  setBackendChannel(fds: ReceivedFds): void {
    this.#reports.open(fds, this.protocolFeatures);
  }

  applyIotlbMessage(message: IotlbMessage): void {
    applyIotlbMessage(this.device, message);
  }

  /**
   * Only drivers from before VIRTIO 1.0 on a big-endian guest want big-endian rings, and we offer
   * VERSION_1 to all. Rings are read through typed arrays in the machine's own order, so another one
   * would be a second set of hot loops for guests that nobody runs.
   */
  setVringEndian(index: number, order: number): void {
    this.#vrings.check(index);
    if (order > 1) throw new VhostError('EINVAL', `SET_VRING_ENDIAN: ${order} is not 0 or 1`);
    if (order === 1) throw new VhostError('EOPNOTSUPP', 'rings are little-endian here');
  }

  readConfig(offset: number, length: number): Uint8Array {
    return this.device.config.read(offset, length);
  }

  writeConfig({ offset, flags, bytes }: ConfigPayload): void {
    if (flags > CONFIG_MIGRATION) {
      throw new VhostError('EINVAL', `SET_CONFIG: unknown flags 0x${flags.toString(16)}`);
    }
    this.device.config.write(offset, bytes, flags === CONFIG_MIGRATION);
  }

  setMtu(mtu: number): void {
    if (!this.device.setMtu) throw new VhostError('EOPNOTSUPP', 'this device has no MTU');
    this.device.setMtu(mtu);
  }

  announce(mac: Uint8Array): void {
    if (!this.device.announce) throw new VhostError('EOPNOTSUPP', 'this device has no address');
    const fd = createMemfd('rxvhost-announcement', PAGE);
    try {
      this.device.announce(mac, mapShared(fd, 0, PAGE));
    } finally {
      closeFd(fd);
    }
  }

  transferState(parameters: DeviceStateParameters, fds: ReceivedFds): DeviceStateChannel {
    this.#vrings.mustAllBeStopped('the state of its device');
    this.#state.begin(parameters, fds);
    return { fd: undefined };
  }

  checkState(): Promise<void> {
    return this.#state.check();
  }

  status(): number {
    return this.#status;
  }

  /**
   * Status 0 is the guest's reset: no ring touches its memory from here on. Nothing is forgotten,
   * though: QEMU says it whenever it stops the device, *before* it asks each ring's index, and would
   * otherwise start a paused or migrated guest from index 0.
   */
  setStatus(status: number): void {
    if (status > 0xff) throw new VhostError('EINVAL', `SET_STATUS: ${status} is over 0xff`);
    if (status === 0) this.#vrings.stopAll();
    this.#status = status;
  }

  end(): void {
    this.#reports.close();
    this.#state.cancel();
  }

  /** The connection has ended, and the device has been reset: what was lent to it goes. */
  release(): void {
    this.#inflight.release();
  }
}

/** Makes an event port of the message's one descriptor. `EINVAL` when it is not an eventfd. */
function adopt(fds: ReceivedFds): EventPort {
  const port = new EventFd(fds.peek(0));
  fds.take(0);
  return port;
}
