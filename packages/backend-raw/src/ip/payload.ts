import type { PacketBatch } from '@rxvhost/core';
import type { OutgoingPacket } from './ip-packet.js';

/**
 * The payload of a packet in a frame of a batch: where it is, when that is in one piece and may be
 * referred to, else a copy.
 */
export function payloadOf(
  batch: PacketBatch,
  frame: number,
  { at, length }: OutgoingPacket,
  byReference: boolean,
): Buffer {
  const piece = byReference ? pieceOf(batch, frame, at, length) : undefined;
  if (piece !== undefined) return piece;
  const copy = new Uint8Array(at + length);
  const copied = batch.copyFrame(frame, copy);
  return Buffer.from(copy.buffer, at, Math.max(0, Math.min(copied, at + length) - at));
}

function pieceOf(batch: PacketBatch, frame: number, at: number, bytes: number): Buffer | undefined {
  const { window, offset, length } = batch.segments;
  const end = batch.firstSegment[frame + 1] as number;
  let before = batch.skip + at;
  for (let segment = batch.firstSegment[frame] as number; segment < end; segment += 1) {
    const all = length[segment] as number;
    if (before + bytes <= all) {
      const memory = batch.windows.bytes(window[segment] as number);
      const start = memory.byteOffset + (offset[segment] as number) + before;
      return Buffer.from(memory.buffer as ArrayBuffer, start, bytes);
    }
    if (before < all) return undefined;
    before -= all;
  }
  return undefined;
}
