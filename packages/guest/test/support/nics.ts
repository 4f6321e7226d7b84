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

/** A guest with a NIC of ours, plugged in and started, on `backend`. */
export function plugged(
  backend: PacketSocket | readonly PacketSocket[],
  nicOptions: Partial<GuestNicOptions> = {},
  deviceOptions: VhostNetOptions = {},
): PluggedNic {
  const nic = new GuestNic(plainArena(16 << 20), {
    features: MODERN,
    makeEvent: () => new LocalEvent(),
    ...nicOptions,
  });
  const device = new VhostNet({ backends: backend, ...deviceOptions });
  plugIn(device, nic);
  const received: Uint8Array[] = [];
  for (const { frames$ } of nic.drivers) {
    frames$.subscribe((batch) => {
      for (const frame of batch) received.push(frame.slice());
    });
  }
  nic.start();
  const close = async () => {
    await device.close();
    nic.close();
  };
  return { nic, device, received, close };
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
