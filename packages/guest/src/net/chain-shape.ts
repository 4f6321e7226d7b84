import type { BufferList } from '../queue/buffer-list.js';

/**
 * How header and frame are spread over a chain's descriptors. A device must take any shape (virtio
 * 1.2, 2.7.4: no assumptions about framing), so tests try many.
 */
export interface ChainShape {
  /** Descriptors for the header alone, 1 to its length; 0: it shares the first one with the frame. */
  readonly headerDescriptors: number;
  /** Descriptors for the frame, at least 1. Fewer are used when it has fewer bytes. */
  readonly frameDescriptors: number;
}

/** One descriptor for everything. */
export const ONE_DESCRIPTOR: ChainShape = { headerDescriptors: 0, frameDescriptors: 1 };

/** The most descriptors that a chain of this shape has. */
export function descriptorsOf(shape: ChainShape): number {
  return shape.headerDescriptors + shape.frameDescriptors;
}

/** Lists `headerLength` and then `frameLength` bytes from `address` on, spread as `shape` says. */
export function listChain(
  list: BufferList,
  shape: ChainShape,
  address: number,
  headerLength: number,
  frameLength: number,
  writable: boolean,
): void {
  list.clear();
  let at = address;
  let left = headerLength;
  for (let pieces = Math.min(shape.headerDescriptors, headerLength); pieces > 0; pieces -= 1) {
    const length = Math.ceil(left / pieces);
    append(list, at, length, writable);
    at += length;
    left -= length;
  }
  left = address + headerLength + frameLength - at;
  for (let pieces = Math.min(shape.frameDescriptors, left); pieces > 0; pieces -= 1) {
    const length = Math.ceil(left / pieces);
    append(list, at, length, writable);
    at += length;
    left -= length;
  }
}

function append(list: BufferList, address: number, length: number, writable: boolean): void {
  if (writable) list.addWritable(address, length);
  else list.addReadable(address, length);
}
