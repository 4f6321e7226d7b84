import type { IotlbMessage } from '@rxvhost/core';
import type { ReceivedFds } from '../channel/received-fds.js';
import type { DeviceStateChannel, DeviceStateParameters } from './device-state.js';
import type {
  ConfigPayload,
  InflightDescription,
  InflightMemory,
  LogDescription,
  RegionDescription,
  VringAddress,
} from './payloads.js';

/**
 * What a front-end can ask of a back-end: one method for each thing that a row of the message table
 * does. A method that throws a `VhostError` has refused. File descriptors that it does not take are
 * closed by whoever called it.
 */
export interface BackendRequests {
  /** Protocol features accepted so far; what gates the requests that need one. */
  readonly protocolFeatures: bigint;

  offeredFeatures(): bigint;
  setFeatures(features: bigint): void;
  offeredProtocolFeatures(): bigint;
  setProtocolFeatures(features: bigint): void;
  setOwner(): void;
  resetOwner(): void;
  resetDevice(): void | Promise<void>;
  queueCount(): number;

  setMemoryTable(regions: readonly RegionDescription[], fds: ReceivedFds): void;
  maxMemorySlots(): number;
  addMemoryRegion(region: RegionDescription, fds: ReceivedFds): void;
  removeMemoryRegion(region: RegionDescription): void;

  setLog(log: LogDescription, fds: ReceivedFds): void;
  setLogEvent(fds: ReceivedFds): void;

  /** Memory for that many queues of that size; whoever gets the answer owns its file descriptor. */
  makeInflight(wanted: InflightDescription): InflightMemory;
  setInflight(description: InflightDescription, fds: ReceivedFds): void;

  setVringSize(index: number, size: number): void;
  setVringAddress(address: VringAddress): void;
  setVringBase(index: number, base: number): void;
  /** Stops the ring and tells the next available index, once it is final. */
  stopVring(index: number): number | Promise<number>;
  /** `fds` undefined: the request says that none comes. */
  setVringKick(index: number, fds: ReceivedFds | undefined): void;
  /** A kick that came as a message. */
  kickVring(index: number): void;
  setVringCall(index: number, fds: ReceivedFds | undefined): void;
  setVringError(index: number, fds: ReceivedFds | undefined): void;
  enableVring(index: number, enable: number): void;
  /** `order` 0 is little-endian, 1 big-endian. */
  setVringEndian(index: number, order: number): void;

  /** The channel for the back-end's own requests. */
  setBackendChannel(fds: ReceivedFds): void;
  applyIotlbMessage(message: IotlbMessage): void;

  readConfig(offset: number, length: number): Uint8Array;
  writeConfig(config: ConfigPayload): void;
  setMtu(mtu: number): void;
  /** Makes the network learn where the guest with this MAC address is now. */
  announce(mac: Uint8Array): void;
  /** Begins to save or load the device's state; says through which pipe. */
  transferState(parameters: DeviceStateParameters, fds: ReceivedFds): DeviceStateChannel;
  /** Resolves when the state has been transferred as a whole. */
  checkState(): Promise<void>;
  status(): number;
  setStatus(status: number): void;
  /** The connection has ended. */
  end(): void;
}
