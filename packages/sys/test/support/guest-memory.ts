import {
  type MemoryMapping,
  PacketBatch,
  WINDOW_STRIDE,
  WindowTable,
  windowsOf,
} from '@rxvhost/core';
import { closeFd, createMemfd, mapShared, receiveBytes } from '../../src/index.js';

/** A little shared memory and its window table. */
export interface GuestMemory {
  readonly mapping: MemoryMapping;
  readonly table: WindowTable;
  readonly bytes: Uint8Array;
}

export function guestMemory(size: number): GuestMemory {
  const fd = createMemfd('rxvhost-test', size);
  const mapping = mapShared(fd, 0, size);
  closeFd(fd);
  const table = new WindowTable(windowsOf(mapping, WINDOW_STRIDE));
  return { mapping, table, bytes: table.bytes(0) };
}

/** One chain as pieces `[offset, length]` of window 0. */
export type Pieces = readonly (readonly [number, number])[];

/** A batch of these chains. */
export function batchOf(
  { table }: GuestMemory,
  skip: number,
  chains: readonly Pieces[],
  segmentCapacity = 4096,
): PacketBatch {
  const batch = new PacketBatch(Math.max(chains.length, 1), segmentCapacity);
  batch.reset(table, skip);
  for (const [index, pieces] of chains.entries()) {
    batch.firstSegment[index] = batch.segments.count;
    let bytes = 0;
    for (const [offset, length] of pieces) {
      batch.segments.push(0, offset, length);
      bytes += length;
    }
    batch.lengths[index] = bytes;
    batch.heads[index] = index;
    batch.firstSegment[index + 1] = batch.segments.count;
  }
  batch.count = chains.length;
  return batch;
}

/** `count` chains of one piece each, `length` bytes long, `stride` bytes apart from `base` on. */
export function row(count: number, length: number, stride: number, base = 0): Pieces[] {
  return Array.from({ length: count }, (_, i) => [[base + i * stride, length] as const]);
}

/** The frames that a receive batch holds. */
export function framesIn(batch: PacketBatch): Uint8Array[] {
  const frames: Uint8Array[] = [];
  let chain = 0;
  for (let f = 0; f < batch.frameCount; f += 1) {
    const chains = batch.frameChains[f] as number;
    const all: number[] = [];
    const end = batch.firstSegment[chain + chains] as number;
    for (let s = batch.firstSegment[chain] as number; s < end; s += 1) {
      all.push(...batch.segments.bytes(s, batch.windows));
    }
    frames.push(
      Uint8Array.from(all.slice(batch.skip, batch.skip + (batch.frameLengths[f] as number))),
    );
    chain += chains;
  }
  return frames;
}

/** Fills memory with bytes that look random and depend on `seed` alone. */
export function fill(bytes: Uint8Array, seed: number): void {
  let state = seed | 1;
  for (let i = 0; i < bytes.length; i += 1) {
    state = (Math.imul(state, 1103515245) + 12345) | 0;
    bytes[i] = state >>> 16;
  }
}

/** Every message that waits in a socket. */
export function drain(fd: number): Uint8Array[] {
  const messages: Uint8Array[] = [];
  const buffer = new Uint8Array(70_000);
  for (;;) {
    const bytes = receiveBytes(fd, buffer);
    if (bytes === undefined || bytes === 0) return messages;
    messages.push(buffer.slice(0, bytes));
  }
}
