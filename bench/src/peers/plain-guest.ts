import { FEATURE, PACKED_AVAILABLE } from '@rxvhost/core';
import { closeFd, createMemfd, EventFd, mapShared } from '@rxvhost/sys';
import { protocolFeatures, VhostUserFrontend } from '@rxvhost/vhost-user';

const MEMORY = 16 * 1024 * 1024;
const USER_ADDRESS = 0x7f00_0000_0000;
const QUEUE_STRIDE = 0x1_0000;
const AVAILABLE = 0x8000;
const USED = 0xc000;
const BUFFERS = 0x10_0000;
const BUFFER = 2048;
const FRAME = 12 + 64;
const WRITE = 2;
const NO_INTERRUPT = 1;
/** ACKNOWLEDGE, DRIVER, FEATURES_OK, DRIVER_OK (virtio 1.2, 2.1). */
const STATUS_DRIVER_OK = 0x0f;
const RECEIVE = 0;
const TRANSMIT = 1;

/** Where a queue's rings and events are, for a program in C that is the guest's driver. */
export interface PlainQueue {
  readonly kick: number;
  readonly call: number;
  /** Offsets in memory; on a packed ring the last two are the driver's and the device's event area. */
  readonly descriptors: number;
  readonly available: number;
  readonly used: number;
}

/** A guest's memory with both queues of a NIC in it. */
export interface PlainGuest {
  readonly memory: number;
  readonly memorySize: number;
  /** Entries of each queue. */
  readonly size: number;
  readonly packed: boolean;
  /** Receive buffers that are available from the start. */
  readonly offered: number;
  readonly receive: PlainQueue;
  readonly transmit: PlainQueue;
}

export interface PlainGuestOptions {
  /** Entries of each queue, up to 1024. */
  readonly size: number;
  /** Receive buffers that are available from the start. */
  readonly available: number;
  /** Whether the guest wants to be called for received frames. */
  readonly calls: boolean;
  /** Whether the rings are packed. */
  readonly packed: boolean;
}

/**
 * Connects a guest to a vhost-user server and runs `body` while it is there. Every entry of both rings
 * is prepared once and for good, 64-byte frames and receive buffers of 2 KiB, so that a driver in C
 * only has to move the available rings' indices, or on packed rings to write lengths, ids and flags.
 */
export async function withPlainGuest<T>(
  socketPath: string,
  options: PlainGuestOptions,
  body: (guest: PlainGuest) => Promise<T>,
): Promise<T> {
  const { size, packed } = options;
  const memory = createMemfd('bench-guest', MEMORY);
  const mapping = mapShared(memory, 0, MEMORY);
  const events = [RECEIVE, TRANSMIT].map(() => ({ kick: new EventFd(), call: new EventFd() }));
  const frontend = VhostUserFrontend.connect(socketPath);
  try {
    await frontend.handshake({ features: FEATURE.VERSION_1 | (packed ? FEATURE.RING_PACKED : 0n) });
    const region = { guestAddress: 0, userAddress: USER_ADDRESS, size: MEMORY, fd: memory };
    await frontend.shareMemory([region]);
    const view = new DataView(mapping.windows[0] as ArrayBuffer);
    if (packed) preparePackedRings(view, options);
    else prepareRings(view, options);
    const queues: PlainQueue[] = [];
    for (const [index, { kick, call }] of events.entries()) {
      const base = USER_ADDRESS + index * QUEUE_STRIDE;
      const addresses = {
        descriptorTable: base,
        availableRing: base + AVAILABLE,
        usedRing: base + USED,
        logAddress: 0,
        flags: 0,
      };
      await frontend.startQueue(index, { size, addresses, kick, call });
      const at = index * QUEUE_STRIDE;
      queues.push({
        kick: kick.fd,
        call: call.fd,
        descriptors: at,
        available: at + AVAILABLE,
        used: at + USED,
      });
    }
    // DPDK waits for this where it has offered the message.
    if ((frontend.protocolFeatures & protocolFeatures('STATUS')) !== 0n) {
      await frontend.request('SET_STATUS', STATUS_DRIVER_OK);
    }
    const [receive, transmit] = queues;
    if (receive === undefined || transmit === undefined) throw new Error('two queues');
    return await body({
      memory,
      memorySize: MEMORY,
      size,
      packed,
      offered: options.available,
      receive,
      transmit,
    });
  } finally {
    frontend.close();
    for (const { kick, call } of events) {
      kick.close();
      call.close();
    }
    mapping.release();
    closeFd(memory);
  }
}

function prepareRings(view: DataView, { size, available, calls }: PlainGuestOptions): void {
  for (const queue of [RECEIVE, TRANSMIT]) {
    const base = queue * QUEUE_STRIDE;
    for (let index = 0; index < size; index += 1) {
      const buffer = BUFFERS + (queue * size + index) * BUFFER;
      view.setUint32(base + 16 * index, buffer, true);
      view.setUint32(base + 16 * index + 8, queue === RECEIVE ? BUFFER : FRAME, true);
      view.setUint16(base + 16 * index + 12, queue === RECEIVE ? WRITE : 0, true);
      view.setUint16(base + AVAILABLE + 4 + 2 * index, index, true);
    }
  }
  if (!calls) view.setUint16(AVAILABLE, NO_INTERRUPT, true);
  view.setUint16(AVAILABLE + 2, available, true);
  view.setUint16(QUEUE_STRIDE + AVAILABLE, NO_INTERRUPT, true);
}

/** Descriptors in the places that their ids say; those of the first round are available by their flags. */
function preparePackedRings(view: DataView, { size, available, calls }: PlainGuestOptions): void {
  for (const queue of [RECEIVE, TRANSMIT]) {
    const base = queue * QUEUE_STRIDE;
    for (let index = 0; index < size; index += 1) {
      const at = base + 16 * index;
      const offered = queue === RECEIVE && index < available;
      view.setUint32(at, BUFFERS + (queue * size + index) * BUFFER, true);
      view.setUint32(at + 8, queue === RECEIVE ? BUFFER : FRAME, true);
      view.setUint16(at + 12, index, true);
      view.setUint16(at + 14, offered ? PACKED_AVAILABLE | WRITE : 0, true);
    }
  }
  if (!calls) view.setUint16(AVAILABLE + 2, NO_INTERRUPT, true);
  view.setUint16(QUEUE_STRIDE + AVAILABLE + 2, NO_INTERRUPT, true);
}
