import { type EventPort, type LocalEvent, loopback, VhostNet } from '@rxvhost/core';
import { GuestMemoryArena, GuestNic, NumberedFrameChecker, NumberedFrames } from '@rxvhost/guest';
import { closeFd, createMemfd, mapShared } from '@rxvhost/sys';
import type { Test } from 'tap';
import { type ProtocolFeature, protocolFeatures } from '../../src/index.js';
import { type Bench, benchFor, FEATURES, negotiate } from './bench.js';

export const MEMORY = 2 << 20;
/** What the guest's driver uses as addresses. */
export const DRIVER_ADDRESS = 0x10_0000;

/** A guest whose frames come back to it, and the VMM's connection to the NIC that does it. */
export interface LoopedGuest<E extends EventPort> extends Bench<VhostNet> {
  readonly nic: GuestNic<E>;
  readonly arena: GuestMemoryArena;
  readonly checker: NumberedFrameChecker;
  readonly memory: number;
  /** What the device reports. */
  readonly faults: string[];
  send(count: number): void;
}

/** What sets one apart. */
export interface LoopedGuestOptions<E extends EventPort> {
  readonly protocol: readonly ProtocolFeature[];
  readonly makeEvent: () => E;
  readonly features?: bigint;
  readonly iommu?: boolean;
}

/** Negotiated, but with no memory shared and no ring set up. */
export async function loopedGuest<E extends EventPort = LocalEvent>(
  t: Test,
  { protocol, makeEvent, features = 0n, iommu = false }: LoopedGuestOptions<E>,
): Promise<LoopedGuest<E>> {
  const bench = await benchFor(t, new VhostNet({ backends: loopback(), iommu }));
  const memory = createMemfd('looped-guest', MEMORY);
  const mapping = mapShared(memory, 0, MEMORY);
  const arena = new GuestMemoryArena([
    { guestAddress: DRIVER_ADDRESS, userAddress: DRIVER_ADDRESS, size: MEMORY, mapping },
  ]);
  const wanted = FEATURES | features;
  const nic = new GuestNic(arena, { features: wanted & ~(1n << 30n), queueSize: 64, makeEvent });
  t.teardown(async () => {
    nic.close();
    await bench.server.close();
    await bench.device.close();
    mapping.release();
    closeFd(memory);
  });
  const checker = new NumberedFrameChecker();
  nic.driver.frames$.subscribe((batch) => {
    for (const frame of batch) checker.receive(frame);
  });
  const faults: string[] = [];
  bench.device.errors$.subscribe(({ queue, error }) => faults.push(`${queue} ${error.code}`));
  await negotiate(bench.frontend, wanted, protocolFeatures(...protocol));
  const mac = new Uint8Array(6);
  const frames = new NumberedFrames(mac, mac);
  return {
    ...bench,
    nic,
    arena,
    checker,
    memory,
    faults,
    send(count) {
      for (let n = 0; n < count; n += 1) nic.driver.send(frames.make(500));
    },
  };
}
