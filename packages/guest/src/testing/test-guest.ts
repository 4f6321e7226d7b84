import { LocalEvent, type MemoryMapping, type PacketSocket, VhostNet } from '@rxvhost/core';
import { filter, firstValueFrom, mergeMap, timeout } from 'rxjs';
import { GuestNic, type GuestNicOptions, plugIn } from '../attach/guest-nic.js';
import { GuestMemoryArena } from '../memory/guest-memory-arena.js';
import { NetFeature } from '../net/net-features.js';
import type { VirtioNetDriver } from '../net/virtio-net-driver.js';

const USER_ADDRESS = 0x7f00_0000_0000;

/** A guest in this process whose NIC is attached to a backend under test. */
export class TestGuest {
  readonly device: VhostNet;
  readonly nic: GuestNic;
  /** Every frame that came, copied. */
  readonly frames: Uint8Array[] = [];

  /**
   * @param socket - the device closes it
   * @param memory - two mebibytes are enough; memory that native code reaches where the backend needs
   * that. The guest releases it
   */
  constructor(
    socket: PacketSocket,
    private readonly memory: MemoryMapping,
    options: Partial<GuestNicOptions> = {},
  ) {
    const { size } = memory;
    const region = { guestAddress: 0, userAddress: USER_ADDRESS, size, mapping: memory };
    const arena = new GuestMemoryArena([region]);
    this.nic = new GuestNic(arena, {
      features: NetFeature.VERSION_1,
      makeEvent: () => new LocalEvent(),
      maxFrameLength: 1518,
      receiveBufferLength: 12 + 1518,
      ...options,
    });
    this.device = new VhostNet({ backends: socket });
    plugIn(this.device, this.nic);
    this.driver.frames$.subscribe((batch) => {
      for (const frame of batch) this.frames.push(frame.slice());
    });
    this.nic.start();
  }

  get driver(): VirtioNetDriver {
    return this.nic.driver;
  }

  /** The next frame that `matches`, one that is here already included. */
  async frame(matches: (frame: Uint8Array) => boolean): Promise<Uint8Array> {
    const here = this.frames.find(matches);
    if (here !== undefined) return here;
    return firstValueFrom(
      this.driver.frames$.pipe(
        mergeMap((batch) => Array.from(batch, (frame) => frame.slice())),
        filter(matches),
        timeout(3000),
      ),
    );
  }

  async close(): Promise<void> {
    await this.device.close();
    this.nic.close();
    this.memory.release();
  }
}
