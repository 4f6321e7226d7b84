import { FEATURE, type MemoryMapping, VhostNet } from '@rxvhost/core';
import { closeFd, createMemfd, EventFd, mapShared, NativeCopier, openEventFd } from '@rxvhost/sys';
import { CopyingSink } from '../server/copying-sink.js';

const USER_ADDRESS = 0x7f00_0000_0000;
/** Bytes from one frame to the next: close together, or address translation is what is compared. */
const STRIDE = 256;
const FRAME = 12 + 64;
const NO_INTERRUPT = 1;
const NO_NOTIFY = 1;
const TRANSMIT = 1;
/** One for all: what a NIC costs is to be compared, not what sinks cost. */
const SINK = new Uint8Array(1 << 20);

/**
 * A NIC that copies what its guest sends, and a guest in the same thread that always has something to
 * send and costs next to nothing: its frames stand in the ring for good, and only the available index
 * moves. It kicks through an eventfd whenever the device asks for that.
 */
export class SaturatedNic {
  readonly nic = new VhostNet({
    backends: new CopyingSink(new NativeCopier(), SINK),
  });
  readonly #mapping: MemoryMapping;
  readonly #ring: Uint16Array;
  readonly #layout: Layout;
  readonly #kick = new EventFd();

  /** @param size - entries of the ring, each with a buffer of its own */
  constructor(size: number) {
    const layout = layoutFor(size);
    const { bytes } = layout;
    const memory = createMemfd('bench-guest', bytes);
    this.#mapping = mapShared(memory, 0, bytes);
    const seenByDevice = mapShared(memory, 0, bytes);
    closeFd(memory);
    const window = this.#mapping.windows[0] as ArrayBuffer;
    this.#layout = layout;
    this.#ring = new Uint16Array(window);
    prepareRing(new DataView(window), layout);
    const { nic } = this;
    nic.errors$.subscribe(({ error }) => console.error(error.message));
    nic.setOwner();
    nic.setFeatures(FEATURE.VERSION_1);
    nic.setMemoryRegions([
      { guestAddress: 0, userAddress: USER_ADDRESS, size: bytes, mapping: seenByDevice },
    ]);
    nic.setVringSize(TRANSMIT, size);
    nic.setVringBase(TRANSMIT, 0);
    nic.setVringAddresses(TRANSMIT, {
      descriptorTable: USER_ADDRESS,
      availableRing: USER_ADDRESS + layout.available,
      usedRing: USER_ADDRESS + layout.used,
      logAddress: 0,
      flags: 0,
    });
    nic.setVringKick(TRANSMIT, openEventFd(this.#kick.fd));
    nic.runQueue(TRANSMIT, 'running');
  }

  /** Frames that the device has taken. */
  get frames(): number {
    return this.nic.statistics().queues[TRANSMIT]?.frames ?? 0;
  }

  /** The guest: makes the whole ring available again. */
  refill(): void {
    const { size, available, used } = this.#layout;
    const next = (Atomics.load(this.#ring, used / 2 + 1) + size) & 0xffff;
    if (Atomics.exchange(this.#ring, available / 2 + 1, next) === next) return;
    if ((Atomics.load(this.#ring, used / 2) & NO_NOTIFY) === 0) this.#kick.signal();
  }

  async close(): Promise<void> {
    await this.nic.close();
    this.#kick.close();
    this.#mapping.release();
  }
}

/** Where the parts of a guest's memory begin. */
interface Layout {
  readonly size: number;
  readonly available: number;
  readonly used: number;
  readonly buffers: number;
  readonly bytes: number;
}

function layoutFor(size: number): Layout {
  const available = 16 * size;
  const used = pages(available + 4 + 2 * size);
  const buffers = pages(used + 4 + 8 * size);
  return { size, available, used, buffers, bytes: buffers + STRIDE * size };
}

function pages(bytes: number): number {
  return Math.ceil(bytes / 4096) * 4096;
}

function prepareRing(view: DataView, { size, available, buffers }: Layout): void {
  for (let index = 0; index < size; index += 1) {
    view.setUint32(16 * index, buffers + STRIDE * index, true);
    view.setUint32(16 * index + 8, FRAME, true);
    view.setUint16(available + 4 + 2 * index, index, true);
  }
  view.setUint16(available, NO_INTERRUPT, true);
}
