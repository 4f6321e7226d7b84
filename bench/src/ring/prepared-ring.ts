import {
  INITIAL_PACKED_BASE,
  type MemoryMapping,
  MemoryTable,
  NO_FEATURES,
  PACKED_AVAILABLE,
  PACKED_USED,
  PACKED_VIRTQUEUES,
  SPLIT_VIRTQUEUES,
  type Virtqueue,
} from '@rxvhost/core';

/** Bytes that a ring's memory needs. */
export const RING_MEMORY = 4 * 1024 * 1024;
/** Entries of a ring. */
export const RING_SIZE = 256;
export const HEADER = 12;
export const FRAME = 64;

const AVAILABLE = 0x2000;
const USED = 0x4000;
const ADDRESSES = { descriptorTable: 0, availableRing: AVAILABLE, usedRing: USED };
const BUFFERS = 0x1_0000;
const BUFFER = 2048;
const FEATURES = { ...NO_FEATURES, indirect: true };
const WRITE = 2;

/** Which way the frames of a ring go. */
export type Direction = 'transmit' | 'receive';

/** A queue, and a driver that makes every entry of its ring available once more. */
export interface PreparedRing {
  readonly queue: Virtqueue;
  /** With as few stores as the layout allows a driver whose buffers stay the same. */
  offerAll(): void;
  /** With every field of descriptors and rings, as a driver does whose buffers change. */
  writeAndOfferAll(): void;
}

/** A ring in memory of its own, which must be {@link RING_MEMORY} bytes. */
export function prepareRing(
  layout: 'split' | 'packed',
  mapping: MemoryMapping,
  direction: Direction,
): PreparedRing {
  const region = { guestAddress: 0, userAddress: 0, size: RING_MEMORY, mapping };
  const table = new MemoryTable([region], () => {});
  const buffer = mapping.windows[0];
  if (buffer === undefined) throw new Error('a mapping without windows');
  const flags = direction === 'receive' ? WRITE : 0;
  const prepared = layout === 'split' ? splitRing(table, buffer) : packedRing(table, buffer);
  const { queue, write, offer } = prepared(flags);
  write();
  return {
    queue,
    offerAll: offer,
    writeAndOfferAll() {
      write();
      offer();
    },
  };
}

interface Parts {
  readonly queue: Virtqueue;
  write(): void;
  offer(): void;
}

/** What the device leaves alone need not be written again: only the index moves. */
const splitRing =
  (table: MemoryTable, buffer: ArrayBuffer) =>
  (flags: number): Parts => {
    const words = new Uint32Array(buffer, 0, 4 * RING_SIZE);
    const available = new Uint16Array(buffer, AVAILABLE, 2 + RING_SIZE);
    available.fill(0);
    new Uint8Array(buffer, USED, 4).fill(0);
    return {
      queue: SPLIT_VIRTQUEUES.create(table, ADDRESSES, RING_SIZE, FEATURES, 0),
      write() {
        for (let index = 0; index < RING_SIZE; index += 1) {
          words[4 * index] = BUFFERS + BUFFER * index;
          words[4 * index + 1] = 0;
          words[4 * index + 2] = HEADER + FRAME;
          words[4 * index + 3] = flags;
          available[2 + index] = index;
        }
      },
      offer: () => Atomics.add(available, 1, RING_SIZE),
    };
  };

/** The device writes over each descriptor's length and flags: they are written for each offer. */
const packedRing =
  (table: MemoryTable, buffer: ArrayBuffer) =>
  (flags: number): Parts => {
    const words = new Uint32Array(buffer, 0, 4 * RING_SIZE);
    words.fill(0);
    new Uint8Array(buffer, AVAILABLE, 4).fill(0);
    let turn = PACKED_AVAILABLE << 16;
    return {
      queue: PACKED_VIRTQUEUES.create(table, ADDRESSES, RING_SIZE, FEATURES, INITIAL_PACKED_BASE),
      write() {
        for (let index = 0; index < RING_SIZE; index += 1) {
          words[4 * index] = BUFFERS + BUFFER * index;
          words[4 * index + 1] = 0;
        }
      },
      offer() {
        for (let index = 0; index < RING_SIZE; index += 1) {
          words[4 * index + 2] = HEADER + FRAME;
          words[4 * index + 3] = index | turn | (flags << 16);
        }
        turn ^= (PACKED_AVAILABLE | PACKED_USED) << 16;
      },
    };
  };
