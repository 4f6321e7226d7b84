import { createRequire } from 'node:module';
import { dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isMainThread } from 'node:worker_threads';
import { VhostError } from '@rxvhost/core';

declare const handleOf: unique symbol;
/** Something of the addon's that JavaScript only holds on to. */
export interface Handle<Kind extends string> {
  readonly [handleOf]: Kind;
}

/** A number that is negative, `-errno`, when the call failed. */
type Result = number;

/**
 * The addon's functions. They take no care of their callers: the modules beside this one check
 * arguments, turn results into {@link VhostError}s and decide who owns what.
 */
export interface Native {
  createMemfd(name: string, size: number): Result;
  fileStatus(fd: number, fields: Float64Array): Result;
  duplicate(fd: number): Result;
  openDevice(path: string): Result;
  closeFdsAtEnd(): void;
  ownFd(fd: number): Result;
  disownFd(fd: number): void;
  close(fd: number): Result;
  setNonBlocking(fd: number): Result;
  makeDevice(path: string, major: number, minor: number): Result;

  filePageSize(fd: number): number;
  mapShared(
    fd: number,
    offset: number,
    size: number,
    stride: number,
    windowSize: number,
    out: (ArrayBuffer | number)[],
  ): Handle<'mapping'> | Result;
  unmapShared(mapping: Handle<'mapping'>, windows: readonly ArrayBuffer[]): void;
  mappingBroken(mapping: Handle<'mapping'>): boolean;
  watchMapping(mapping: Handle<'mapping'>, eventFd: number): void;

  createEventFd(): Result;
  checkEventFd(fd: number): Result;
  signalEvent(fd: number): void;
  signalBlockingEvent(fd: number): void;
  readEvent(fd: number): Result;

  pollOpen(fd: number, ready: (status: number, events: number) => void): Handle<'poll'> | Result;
  pollWatch(poll: Handle<'poll'>, events: number): Result;
  pollClose(poll: Handle<'poll'>): void;
  pollKeepAlive(poll: Handle<'poll'>, keepsAlive: number): void;

  receiveWithFds(fd: number, target: Uint8Array, maxFds: number, fds: number[]): Result;
  receiveBytes(fd: number, target: Uint8Array): Result;
  sendWithFds(fd: number, bytes: Uint8Array, fds: readonly number[]): Result;
  connectUnix(path: string): Result;
  unixPeer(fd: number): Result;
  socketPair(type: string, fds: number[]): Result;
  listenUnix(path: string, backlog: number): Result;
  acceptUnix(fd: number): Result;

  openTun(device: string, name: string, flags: number, names: string[]): Result;
  tunInterface(fd: number, names: string[]): Result;
  tunFeatures(fd: number): Result;
  tunVnetHeaderSize(fd: number): Result;
  setTunVnetHeaderSize(fd: number, bytes: number): Result;
  setTunVnetLittleEndian(fd: number, on: number): Result;
  setTunSendBuffer(fd: number, bytes: number): Result;
  setTunOffload(fd: number, flags: number): Result;
  setTunPersistent(fd: number, on: number): Result;
  setTunQueue(fd: number, flags: number): Result;

  openPacketSocket(): Result;
  bindPacketSocket(fd: number, interfaceIndex: number, hear: 0 | 1): Result;
  packetSocketInterface(fd: number): Result;
  socketOption(fd: number, level: number, name: number): Result;
  setSocketOption(fd: number, level: number, name: number, value: number): Result;
  addPacketMembership(
    fd: number,
    interfaceIndex: number,
    type: number,
    address: Uint8Array,
  ): Result;
  attachFilter(fd: number, program: Uint8Array): Result;
  packetDrops(fd: number): Result;
  outgoingBytes(fd: number): Result;

  interfaceIndex(name: string): Result;
  interfaceName(index: number, names: string[]): Result;
  interfaceFlags(name: string): Result;
  setInterfaceUp(name: string, up: boolean): Result;
  interfaceMtu(name: string): Result;
  setInterfaceMtu(name: string, bytes: number): Result;
  interfaceHardwareAddress(name: string, address: Uint8Array): Result;
  setInterfaceHardwareAddress(name: string, address: Uint8Array): Result;

  bindBatch(arrays: readonly (Uint32Array | Int32Array)[]): Handle<'batch'> | Result;
  bindWindows(address: Float64Array, length: Uint32Array): Handle<'windows'> | Result;
  writeFrames(
    batch: Handle<'batch'>,
    windows: Handle<'windows'>,
    fd: number,
    first: number,
  ): Result;
  readFrames(
    batch: Handle<'batch'>,
    windows: Handle<'windows'>,
    fd: number,
    kept: Uint8Array,
    keptState: Uint32Array,
    largestFrame: number,
  ): Result;
  sendFrames(
    batch: Handle<'batch'>,
    windows: Handle<'windows'>,
    fd: number,
    first: number,
    vnetHeader: number,
  ): Result;
  receiveFrames(batch: Handle<'batch'>, windows: Handle<'windows'>, fd: number): Result;
  receivePackets(
    batch: Handle<'batch'>,
    windows: Handle<'windows'>,
    fd: number,
    vnetHeader: number,
  ): Result;
  gather(
    batch: Handle<'batch'>,
    windows: Handle<'windows'>,
    first: number,
    target: Uint8Array,
    at: number,
  ): Result;
  scatter(
    batch: Handle<'batch'>,
    windows: Handle<'windows'>,
    source: Uint8Array,
    at: number,
    lengths: Uint32Array,
    firstLength: number,
    count: number,
  ): Result;
  copyFrames(
    from: Handle<'batch'>,
    fromWindows: Handle<'windows'>,
    first: number,
    to: Handle<'batch'>,
    toWindows: Handle<'windows'>,
  ): Result;
}

let loaded: Native | undefined;

/**
 * The addon, loaded at the first use of anything that needs it, so that importing this package for
 * its types costs nothing.
 * Throws `ENOSYS` where it is not built for this machine, and says how to build it.
 */
export function loadNative(): Native {
  loaded ??= load();
  return loaded;
}

function load(): Native {
  const packageFolder = resolve(dirname(fileURLToPath(import.meta.url)), '../..');
  try {
    const nodeGypBuild: (folder: string) => Native = createRequire(import.meta.url)(
      'node-gyp-build',
    );
    const native = nodeGypBuild(packageFolder);
    // What the main thread has open goes with the process; a worker's would stay.
    if (!isMainThread) native.closeFdsAtEnd();
    return native;
  } catch (cause) {
    throw new VhostError(
      'ENOSYS',
      `the native part of @rxvhost/sys is not built for Node ${process.version} on ` +
        `${process.platform}-${process.arch}: run "npm rebuild @rxvhost/sys" (it needs Linux, ` +
        'a C++17 compiler and make)',
      { cause },
    );
  }
}
