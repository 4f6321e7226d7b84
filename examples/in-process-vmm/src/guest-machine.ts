import type { MemoryMapping } from '@rxvhost/core';
import {
  DRIVER_FEATURES,
  GuestMemoryArena,
  GuestNic,
  NetFeature,
  NumberedFrameChecker,
  TinyHost,
} from '@rxvhost/guest';
import { closeFd, createMemfd, EventFd, mapShared } from '@rxvhost/sys';
import { type Agreement, VhostUserFrontend } from '@rxvhost/vhost-user';
import type { Subscription } from 'rxjs';

const MEMORY_SIZE = 4 * 1024 * 1024;
/** Where the memory begins for the guest, and for the VMM: never the same in a real machine. */
const GUEST_ADDRESS = 0x10_0000;
const USER_ADDRESS = 0x7f00_0000_0000;
const MAC_LENGTH = 6;

/**
 * A virtual machine without the machine: guest memory in a memfd, a virtio-net driver and a small
 * network stack on it, and the VMM's part, which is a vhost-user front-end. It shares nothing with
 * the NIC but the memory, the eventfds and the socket.
 */
export class GuestMachine {
  readonly host: TinyHost;
  /** Looks at the numbered frames that arrive. */
  readonly checker = new NumberedFrameChecker();
  /** When the last numbered frame arrived, as `performance.now()` tells. */
  lastArrival = 0;
  readonly #frames: Subscription;

  private constructor(
    readonly name: string,
    readonly agreement: Agreement,
    readonly mac: Uint8Array,
    readonly ip: Uint8Array,
    readonly nic: GuestNic<EventFd>,
    private readonly frontend: VhostUserFrontend,
    private readonly memory: MemoryMapping,
    private readonly memfd: number,
    report: (problem: string) => void,
  ) {
    const { driver } = nic;
    this.host = new TinyHost(mac, ip, (frame) => driver.send(frame));
    this.#frames = driver.frames$.subscribe((batch) => {
      for (const frame of batch) {
        if (this.checker.receive(frame)) this.lastArrival = performance.now();
        else this.host.receive(frame);
      }
    });
    this.#frames.add(driver.errors$.subscribe((error) => report(error.message)));
  }

  /** Boots: connects to the NIC, agrees on features, shares the memory, starts both queues. */
  static async boot(
    name: string,
    ip: Uint8Array,
    socketPath: string,
    report: (problem: string) => void,
  ): Promise<GuestMachine> {
    const frontend = VhostUserFrontend.connect(socketPath);
    try {
      return await GuestMachine.#bootOn(frontend, name, ip, report);
    } catch (error) {
      frontend.close();
      throw error;
    }
  }

  static async #bootOn(
    frontend: VhostUserFrontend,
    name: string,
    ip: Uint8Array,
    report: (problem: string) => void,
  ): Promise<GuestMachine> {
    const features = DRIVER_FEATURES | NetFeature.STATUS;
    const agreement = await frontend.handshake({ features });
    const blank = { offset: 0, flags: 0, bytes: new Uint8Array(MAC_LENGTH) };
    const { bytes: mac } = await frontend.request('GET_CONFIG', blank);

    const memfd = createMemfd(`guest-${name}`, MEMORY_SIZE);
    const place = { guestAddress: GUEST_ADDRESS, userAddress: USER_ADDRESS, size: MEMORY_SIZE };
    const memory = mapShared(memfd, 0, MEMORY_SIZE);
    await frontend.shareMemory([{ ...place, fd: memfd }]);

    const arena = new GuestMemoryArena([{ ...place, mapping: memory }]);
    const nic = new GuestNic(arena, {
      features: agreement.features,
      makeEvent: () => new EventFd(),
    });
    for (const { index, queue, addresses, kick, call } of nic.rings) {
      await frontend.startQueue(index, { size: queue.size, addresses, kick, call });
    }
    const guest = new GuestMachine(name, agreement, mac, ip, nic, frontend, memory, memfd, report);
    nic.start();
    return guest;
  }

  /** Stops the queues as a VMM does, then lets everything go. */
  async shutDown(): Promise<void> {
    this.host.close();
    for (const { index } of this.nic.rings) {
      if (!this.frontend.closed) await this.frontend.stopQueue(index);
    }
    this.frontend.close();
    this.#frames.unsubscribe();
    this.nic.close();
    this.memory.release();
    closeFd(this.memfd);
  }
}
