import { LocalEvent, type PacketSocket, VhostNet } from '@rxvhost/core';
import {
  GuestMemoryArena,
  GuestNic,
  type GuestNicOptions,
  NetFeature,
  plugIn,
  type VirtioNetDriver,
} from '@rxvhost/guest';
import { closeFd, createMemfd, mapShared } from '@rxvhost/sys';
import { filter, firstValueFrom, mergeMap, timeout } from 'rxjs';

const MEMORY_SIZE = 2 * 1024 * 1024;

/** A guest in this process whose NIC is attached to a backend under test. */
export class TestGuest {
  readonly device: VhostNet;
  readonly nic: GuestNic;
  /** Every frame that came, copied. */
  readonly frames: Uint8Array[] = [];
  readonly #release: () => void;

  constructor(
    socket: PacketSocket,
    features: bigint = NetFeature.VERSION_1,
    options: Partial<GuestNicOptions> = {},
  ) {
    const fd = createMemfd('test-guest', MEMORY_SIZE);
    const mapping = mapShared(fd, 0, MEMORY_SIZE);
    closeFd(fd);
    const region = { guestAddress: 0, userAddress: 0x7f00_0000_0000, size: MEMORY_SIZE, mapping };
    const arena = new GuestMemoryArena([region]);
    this.nic = new GuestNic(arena, {
      features,
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
    this.#release = () => mapping.release();
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
    this.#release();
  }
}
