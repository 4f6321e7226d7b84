import {
  FEATURE,
  LocalEvent,
  type PacketSocket,
  VhostNet,
  type VhostNetOptions,
} from '@rxvhost/core';
import { GuestNic, type GuestNicOptions, plugIn } from '../../src/index.js';
import { plainArena } from './arena.js';

/** What a modern driver negotiates by default in these tests. */
export const MODERN = FEATURE.VERSION_1 | FEATURE.EVENT_IDX | FEATURE.INDIRECT_DESC;

export interface PluggedNic {
  readonly nic: GuestNic;
  readonly device: VhostNet;
  /** Copies of every frame received so far. */
  readonly received: Uint8Array[];
  close(): Promise<void>;
}

/** A guest with a NIC of ours on `backend`: plugged in, its drivers not started. */
export function assembled(
  backend: PacketSocket | readonly PacketSocket[],
  nicOptions: Partial<GuestNicOptions> = {},
  deviceOptions: VhostNetOptions = {},
): Omit<PluggedNic, 'received'> {
  const nic = new GuestNic(plainArena(16 << 20), {
    features: MODERN,
    makeEvent: () => new LocalEvent(),
    ...nicOptions,
  });
  const device = new VhostNet({ backends: backend, ...deviceOptions });
  plugIn(device, nic);
  const close = async () => {
    await device.close();
    nic.close();
  };
  return { nic, device, close };
}

/** The same, started, with all that it receives. */
export function plugged(...options: Parameters<typeof assembled>): PluggedNic {
  const parts = assembled(...options);
  const received: Uint8Array[] = [];
  for (const { frames$ } of parts.nic.drivers) {
    frames$.subscribe((batch) => {
      for (const frame of batch) received.push(frame.slice());
    });
  }
  parts.nic.start();
  return { ...parts, received };
}

/** Waits, a turn of the event loop at a time, until `condition` holds; throws after `limit` ms. */
export async function until(condition: () => boolean, limit = 30_000): Promise<void> {
  const end = performance.now() + limit;
  while (!condition()) {
    if (performance.now() > end) throw new Error(`did not happen within ${limit} ms: ${condition}`);
    await turn();
  }
}

/** Lets the event loop go round `count` times. */
export async function turn(count = 1): Promise<void> {
  for (let index = 0; index < count; index += 1) {
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
}

/** Sends all frames, waiting for room as often as it takes. */
export async function sendAll(nic: GuestNic, frames: readonly Uint8Array[]): Promise<void> {
  const { driver } = nic;
  for (const frame of frames) {
    while (!driver.enqueue(frame)) {
      driver.flush();
      await new Promise<void>((resolve) => {
        const subscription = driver.writable$.subscribe(() => {
          subscription.unsubscribe();
          resolve();
        });
      });
    }
  }
  driver.flush();
}
