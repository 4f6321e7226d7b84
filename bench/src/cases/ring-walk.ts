import {
  ArrayBufferMapping,
  type FrameCopier,
  type MemoryMapping,
  PacketBatch,
  PlainCopier,
} from '@rxvhost/core';
import { closeFd, createMemfd, mapShared, NativeCopier } from '@rxvhost/sys';
import { median, type Result } from '../result.js';
import {
  type Direction,
  FRAME,
  HEADER,
  type PreparedRing,
  prepareRing,
  RING_MEMORY,
  RING_SIZE,
} from '../ring/prepared-ring.js';
import { ON_SPLIT_RINGS, type Settings } from '../settings.js';

const ROUNDS_BETWEEN_LOOKS = 1000;

/** One way to walk a ring. */
interface Walk {
  readonly name: string;
  readonly direction: Direction;
  readonly copier?: FrameCopier;
  /** In memory that native code can reach. */
  readonly shared?: boolean;
  /** Counts what the driver does too, which writes every field in both layouts. */
  readonly withDriver?: boolean;
}

const WALKS: readonly Walk[] = [
  { name: 'ring walk, no copy', direction: 'transmit' },
  { name: 'ring walk, receive, no copy', direction: 'receive' },
  { name: 'ring walk and driver, no copy', direction: 'transmit', withDriver: true },
  {
    name: 'ring walk and copy in TypeScript',
    direction: 'transmit',
    copier: new PlainCopier(),
  },
  {
    name: 'ring walk and native copy',
    direction: 'transmit',
    copier: new NativeCopier(),
    shared: true,
  },
];

/**
 * Nanoseconds a frame that the device needs to take 256 chains from a ring and complete them. A driver
 * in the same thread makes them available before the clock starts, since what it has to write differs
 * by layout; in one walk both count.
 */
export function ringWalk({ seconds, rounds, packed }: Settings): Result[] {
  return WALKS.map((walk) => {
    const memories = [memoryFor(walk), memoryFor(walk)] as const;
    const measureSplit = walker(prepareRing('split', memories[0], walk.direction), walk);
    const packedRing = packed ? prepareRing('packed', memories[1], walk.direction) : undefined;
    const measurePacked = packedRing && walker(packedRing, walk);
    for (const measure of [measureSplit, measurePacked]) measure?.(seconds / 4);
    const split: number[] = [];
    const own: number[] = [];
    for (let round = 0; round < rounds; round += 1) {
      split.push(measureSplit(seconds));
      own.push(measurePacked?.(seconds) ?? (split.at(-1) as number));
    }
    for (const memory of memories) memory.release();
    const peers = packed ? [{ name: ON_SPLIT_RINGS, figures: split }] : [];
    return { name: walk.name, unit: 'ns/frame', better: 'less', own, peers };
  });
}

/** A function that walks for some seconds and tells the nanoseconds that a frame took. */
function walker(
  ring: PreparedRing,
  { direction, copier, withDriver = false }: Walk,
): (seconds: number) => number {
  const round =
    direction === 'receive' ? receiveRound(ring, withDriver) : sendRound(ring, withDriver, copier);
  return (seconds) => {
    const end = performance.now() + seconds * 1000;
    const medians: number[] = [];
    const times = new Float64Array(ROUNDS_BETWEEN_LOOKS);
    while (performance.now() < end) {
      for (let index = 0; index < times.length; index += 1) times[index] = round();
      // Others who have the processor in between make few rounds longer: the middle one is ours.
      medians.push(times.sort()[times.length >> 1] as number);
    }
    return (median(medians) * 1e6) / RING_SIZE;
  };
}

/** Takes, copies and completes a ring of frames to send; returns the milliseconds. */
function sendRound({ queue, ...driver }: PreparedRing, withDriver: boolean, copier?: FrameCopier) {
  const batch = new PacketBatch();
  const target = new Uint8Array(1024 * 1024);
  const offer = withDriver ? driver.writeAndOfferAll : driver.offerAll;
  return (): number => {
    if (!withDriver) offer();
    const start = performance.now();
    if (withDriver) offer();
    const taken = queue.takeReadable(batch, RING_SIZE, HEADER, HEADER);
    copier?.gather(batch, 0, target, 0);
    queue.completeReadable(batch.heads, 0, taken);
    queue.takeCallWanted();
    const time = performance.now() - start;
    if (taken !== RING_SIZE) throw new Error(`took ${taken} chains`);
    return time;
  };
}

/** Takes a ring of buffers and completes them as if a frame had been written to each. */
function receiveRound({ queue, ...driver }: PreparedRing, withDriver: boolean) {
  const batch = new PacketBatch();
  const offer = withDriver ? driver.writeAndOfferAll : driver.offerAll;
  batch.frameLengths.fill(FRAME);
  batch.frameChains.fill(1);
  return (): number => {
    if (!withDriver) offer();
    const start = performance.now();
    if (withDriver) offer();
    batch.frameCount = queue.takeWritable(batch, RING_SIZE, HEADER, HEADER);
    queue.completeWritable(batch);
    queue.takeCallWanted();
    const time = performance.now() - start;
    if (batch.frameCount !== RING_SIZE) throw new Error(`took ${batch.frameCount} chains`);
    return time;
  };
}

function memoryFor({ shared = false }: Walk): MemoryMapping {
  if (!shared) return new ArrayBufferMapping(new ArrayBuffer(RING_MEMORY));
  const fd = createMemfd('bench-ring', RING_MEMORY);
  const mapping = mapShared(fd, 0, RING_MEMORY);
  closeFd(fd);
  return mapping;
}
