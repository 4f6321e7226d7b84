import {
  ArrayBufferMapping,
  type FrameCopier,
  MemoryTable,
  NO_FEATURES,
  PacketBatch,
  PlainCopier,
  SPLIT_VIRTQUEUES,
} from '@rxvhost/core';
import { closeFd, createMemfd, mapShared, NativeCopier } from '@rxvhost/sys';
import type { Result } from '../result.js';
import type { Settings } from '../settings.js';

const SIZE = 256;
const MEMORY = 4 * 1024 * 1024;
const AVAILABLE = 0x2000;
const USED = 0x4000;
const BUFFERS = 0x1_0000;
const HEADER = 12;
const FRAME = 64;
const FEATURES = { ...NO_FEATURES, indirect: true };
const ROUNDS_BETWEEN_LOOKS = 1000;

/** Nanoseconds a frame to take 256 chains from a ring and complete them, and with a copy between. */
export function ringWalk({ seconds, rounds }: Settings): Result[] {
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
    const walk = walker(table, new DataView(mapping.windows[0] as ArrayBuffer), copier);
    walk(seconds / 4);
    const own = Array.from({ length: rounds }, () => walk(seconds));
    return { name, unit: 'ns/frame', better: 'less', own, peers: [] } as const;
  });
  shared.release();
  return results;
}

/** A function that walks for some seconds and tells the nanoseconds that a frame took. */
function walker(table: MemoryTable, view: DataView, copier: FrameCopier | undefined) {
  for (let index = 0; index < SIZE; index += 1) {
    view.setUint32(16 * index, BUFFERS + 2048 * index, true);
    view.setUint32(16 * index + 8, HEADER + FRAME, true);
    view.setUint16(AVAILABLE + 4 + 2 * index, index, true);
  }
  const addresses = { descriptorTable: 0, availableRing: AVAILABLE, usedRing: USED };
  const next = view.getUint16(AVAILABLE + 2, true);
  const queue = SPLIT_VIRTQUEUES.create(table, addresses, SIZE, FEATURES, next);
  const available = new Uint16Array(view.buffer);
  const batch = new PacketBatch();
  const target = new Uint8Array(1024 * 1024);
  return (seconds: number): number => {
    // Processor time, not the clock's: nothing here waits, and others may want the processor.
    const started = process.cpuUsage();
    let frames = 0;
    let microseconds = 0;
    while (microseconds < seconds * 1e6) {
      for (let round = 0; round < ROUNDS_BETWEEN_LOOKS; round += 1) {
        Atomics.add(available, AVAILABLE / 2 + 1, SIZE);
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
