import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { VirtioDevice, VringAddresses } from '@rxvhost/core';
import { closeFd, createMemfd, EventFd, socketPair } from '@rxvhost/sys';
import type { Test } from 'tap';
import {
  type Connection,
  type ProtocolFault,
  protocolFeatures,
  serve,
  type TraceEvent,
  VHOST_USER_F_PROTOCOL_FEATURES,
  VhostUserFrontend,
  type VhostUserServer,
} from '../../src/index.js';
import { RecordingDevice } from './recording-device.js';

/** VERSION_1, and that the front-end speaks protocol features. */
export const FEATURES = (1n << 32n) | VHOST_USER_F_PROTOCOL_FEATURES;

export const GUEST_BASE = 0x10_0000;
export const USER_BASE = 0x7f00_0000_0000;
export const MEMORY_SIZE = 0x10_0000;

/** One served connection with both ends at hand. */
export interface Bench<D extends VirtioDevice> {
  readonly device: D;
  readonly server: VhostUserServer;
  readonly frontend: VhostUserFrontend;
  readonly errors: ProtocolFault[];
  readonly trace: TraceEvent[];
  readonly connections: Connection[];
}

/** Serves a recording device on one end of a socket pair and gives the other to a front-end. */
export async function makeBench(t: Test, pairs = 1): Promise<Bench<RecordingDevice>> {
  return benchFor(t, new RecordingDevice(pairs));
}

export async function benchFor<D extends VirtioDevice>(t: Test, device: D): Promise<Bench<D>> {
  const [ours, theirs] = socketPair();
  const server = await serve(device, { fd: ours });
  const errors: ProtocolFault[] = [];
  const trace: TraceEvent[] = [];
  const connections: Connection[] = [];
  server.errors$.subscribe((fault) => errors.push(fault));
  server.trace$.subscribe((event) => trace.push(event));
  server.connections$.subscribe((connection) => connections.push(connection));
  const frontend = new VhostUserFrontend(theirs);
  t.teardown(async () => {
    frontend.close();
    await server.close();
  });
  return { device, server, frontend, errors, trace, connections };
}

/** The codes on `errors$` so far. */
export function codes(errors: readonly ProtocolFault[]): string[] {
  return errors.map(({ request, error }) => `${request ?? '-'} ${error.code}`);
}

/** A front-end's handshake with every protocol feature, or with those given. */
export async function negotiate(
  frontend: VhostUserFrontend,
  features = FEATURES,
  protocol = protocolFeatures(
    'MQ',
    'REPLY_ACK',
    'CONFIG',
    'MTU',
    'RESET_DEVICE',
    'CONFIGURE_MEM_SLOTS',
    'STATUS',
  ),
): Promise<void> {
  await frontend.handshake({ features, protocolFeatures: protocol });
}

/** Shares one region of {@link MEMORY_SIZE} bytes at {@link GUEST_BASE}. */
export async function share(t: Test, frontend: VhostUserFrontend): Promise<void> {
  await frontend.shareMemory([memoryRegion(t)]);
}

/** A region with a memfd of its own, closed at the end of the test. */
export function memoryRegion(t: Test, index = 0, size = MEMORY_SIZE) {
  const fd = createMemfd('vhost-user-test', size);
  t.teardown(() => closeFd(fd));
  return {
    fd,
    size,
    guestAddress: GUEST_BASE + index * MEMORY_SIZE,
    userAddress: USER_BASE + index * MEMORY_SIZE,
    offset: 0,
  };
}

/** Somewhere in the shared region for ring `index`. */
export function ringAddresses(index: number): VringAddresses {
  const start = USER_BASE + index * 0x8000;
  return {
    descriptorTable: start,
    availableRing: start + 0x4000,
    usedRing: start + 0x5000,
    logAddress: 0,
    flags: 0,
  };
}

/** An eventfd that is closed at the end of the test. */
export function event(t: Test): EventFd {
  const port = new EventFd();
  t.teardown(() => port.close());
  return port;
}

/** Waits until `condition` holds; fails the test after thirty seconds. */
export async function until(t: Test, what: string, condition: () => boolean): Promise<void> {
  for (let waited = 0; waited < 6000; waited += 1) {
    if (condition()) {
      t.pass(what);
      return;
    }
    await sleep(5);
  }
  t.fail(`not within thirty seconds: ${what}`);
}

/** File descriptors that this process has open. */
export function openFds(): number {
  return readdirSync('/proc/self/fd').length;
}

/** Mappings of memfds in this process. */
export function memfdMappings(): number {
  return readFileSync('/proc/self/maps', 'utf8')
    .split('\n')
    .filter((line) => line.includes('memfd:')).length;
}
