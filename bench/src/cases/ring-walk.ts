import {
  ArrayBufferMapping,
  type FrameCopier,
  INITIAL_PACKED_BASE,
  MemoryTable,
  NO_FEATURES,
  PACKED_AVAILABLE,
  PACKED_USED,
  PACKED_VIRTQUEUES,
  PacketBatch,
  PlainCopier,
  SPLIT_VIRTQUEUES,
  type Virtqueue,
} from '@rxvhost/core';
import { closeFd, createMemfd, mapShared, NativeCopier } from '@rxvhost/sys';
import type { Result } from '../result.js';
import { ON_SPLIT_RINGS, type Settings } from '../settings.js';

const SIZE = 256;
const MEMORY = 4 * 1024 * 1024;
const AVAILABLE = 0x2000;
const USED = 0x4000;
const ADDRESSES = { descriptorTable: 0, availableRing: AVAILABLE, usedRing: USED };
const BUFFERS = 0x1_0000;
const HEADER = 12;
const FRAME = 64;
const FEATURES = { ...NO_FEATURES, indirect: true };
const ROUNDS_BETWEEN_LOOKS = 1000;

/** Nanoseconds a frame to take 256 chains from a ring and complete them, and with a copy between. */
export function ringWalk({ seconds, rounds, packed }: Settings): Result[] {
  const fd = createMemfd('bench-ring', MEMORY);
  const shared = mapShared(fd, 0, MEMORY);
  closeFd(fd);
  const plain = new ArrayBufferMapping(new ArrayBuffer(MEMORY));
  const cases = [
    { name: 'ring walk, no copy', mapping: plain, copier: undefined },
    { name: 'ring walk and copy in TypeScript', mapping: plain, copier: new PlainCopier() },
    { name: 'ring walk and native copy', mapping: shared, copier: new NativeCopier() },
  ] as const;
  const results = cases.map(({ name, mapping, copier }) => {
    const table = new MemoryTable(
      [{ guestAddress: 0, userAddress: 0, size: MEMORY, mapping }],
      () => {},
    );
    const view = new DataView(mapping.windows[0] as ArrayBuffer);
    const measure = (ring: Ring): number[] => {
      const walk = walker(ring, copier);
      walk(seconds / 4);
      return Array.from({ length: rounds }, () => walk(seconds));
    };
    const split = measure(splitRing(table, view));
    const own = packed ? measure(packedRing(table, view)) : split;
    const peers = packed ? [{ name: ON_SPLIT_RINGS, figures: split }] : [];
    return { name, unit: 'ns/frame', better: 'less', own, peers } as const;
  });
  shared.release();
  return results;
}

/** A queue, and a way to make everything in its ring available once more. */
interface Ring {
  readonly queue: Virtqueue;
  offerAll(): void;
}

function splitRing(table: MemoryTable, view: DataView): Ring {
  for (let index = 0; index < SIZE; index += 1) {
    view.setUint32(16 * index, BUFFERS + 2048 * index, true);
    view.setUint32(16 * index + 8, HEADER + FRAME, true);
    view.setUint32(16 * index + 12, 0, true);
    view.setUint16(AVAILABLE + 4 + 2 * index, index, true);
  }
  const next = view.getUint16(AVAILABLE + 2, true);
  const queue = SPLIT_VIRTQUEUES.create(table, ADDRESSES, SIZE, FEATURES, next);
  const available = new Uint16Array(view.buffer);
  return { queue, offerAll: () => Atomics.add(available, AVAILABLE / 2 + 1, SIZE) };
}

/** A driver has more to write here: length and flags of every descriptor, which count as ours. */
function packedRing(table: MemoryTable, view: DataView): Ring {
  const words = new Uint32Array(view.buffer, 0, 4 * SIZE);
  for (let index = 0; index < SIZE; index += 1) words[4 * index] = BUFFERS + 2048 * index;
  view.setUint32(AVAILABLE, 0, true);
  const queue = PACKED_VIRTQUEUES.create(table, ADDRESSES, SIZE, FEATURES, INITIAL_PACKED_BASE);
  let turn = PACKED_AVAILABLE << 16;
  const offerAll = (): void => {
    for (let index = 0; index < SIZE; index += 1) {
      words[4 * index + 2] = HEADER + FRAME;
      words[4 * index + 3] = index | turn;
    }
    turn ^= (PACKED_AVAILABLE | PACKED_USED) << 16;
  };
  return { queue, offerAll };
}

/** A function that walks for some seconds and tells the nanoseconds that a frame took. */
function walker({ queue, offerAll }: Ring, copier: FrameCopier | undefined) {
  const batch = new PacketBatch();
  const target = new Uint8Array(1024 * 1024);
  return (seconds: number): number => {
    // Processor time, not the clock's: nothing here waits, and others may want the processor.
    const started = process.cpuUsage();
    let frames = 0;
    let microseconds = 0;
    while (microseconds < seconds * 1e6) {
      for (let round = 0; round < ROUNDS_BETWEEN_LOOKS; round += 1) {
        offerAll();
        const taken = queue.takeReadable(batch, SIZE, HEADER, HEADER);
        copier?.gather(batch, 0, target, 0);
        queue.completeReadable(batch.heads, 0, taken);
        queue.takeCallWanted();
        frames += taken;
      }
      const { user, system } = process.cpuUsage(started);
      microseconds = user + system;
    }
    return (microseconds * 1000) / frames;
  };
}
