import { FEATURE } from '../device/features.js';
import type { PacketBatch } from '../virtqueue/packet-batch.js';
import { NET_FEATURE } from './net-features.js';

/**
 * The virtio-net header that stands before every frame in guest memory (virtio 1.2, 5.1.6):
 * flags u8, gso_type u8, hdr_len u16, gso_size u16, csum_start u16, csum_offset u16 and, with
 * VERSION_1 or mergeable receive buffers, num_buffers u16; with HASH_REPORT also hash_value u32, hash_report u16, padding u16.
 */

/** Length without, and with, `num_buffers`; with the hash. */
export type NetHeaderLength = 10 | 12 | 20;

const NUM_BUFFERS_OFFSET = 10;

/** How long the header is with these features (seed C2). */
export function netHeaderLength(features: bigint): NetHeaderLength {
  if ((features & NET_FEATURE.HASH_REPORT) !== 0n) return 20;
  return (features & (FEATURE.VERSION_1 | NET_FEATURE.MRG_RXBUF)) === 0n ? 10 : 12;
}

/**
 * Completes the header of every received frame in guest memory: the whole of it where the device
 * supplies it (no flags, no segmentation), else just `num_buffers`, which no backend knows.
 * @param supply - whether the device writes the header, rather than the backend
 */
export function writeReceiveHeaders(
  batch: PacketBatch,
  length: NetHeaderLength,
  supply: boolean,
): void {
  if (!supply && length === 10) return;
  const { firstSegment, frameChains, segments, windows } = batch;
  let chain = 0;
  for (let frame = 0; frame < batch.frameCount; frame += 1) {
    const chains = frameChains[frame] as number;
    const segment = firstSegment[chain] as number;
    const offset = segments.offset[segment] as number;
    if ((segments.length[segment] as number) >= length) {
      const view = windows.view(segments.window[segment] as number);
      if (supply) {
        // In words: byte by byte, and with a `fill` even more, this was most of what a frame took.
        view.setUint32(offset, 0);
        view.setUint32(offset + 4, 0);
        view.setUint16(offset + 8, 0);
      }
      if (length >= 12) view.setUint16(offset + NUM_BUFFERS_OFFSET, chains, true);
    } else {
      writeSplitHeader(batch, chain, chains, length, supply);
    }
    chain += chains;
  }
}

/** The same for a header that the guest split over several segments. */
function writeSplitHeader(
  batch: PacketBatch,
  chain: number,
  chains: number,
  length: NetHeaderLength,
  supply: boolean,
): void {
  const { firstSegment, segments, windows } = batch;
  let at = 0;
  for (let segment = firstSegment[chain] as number; at < length; segment += 1) {
    const piece = segments.bytes(segment, windows);
    for (let index = 0; index < piece.length && at < length; index += 1) {
      if (at === NUM_BUFFERS_OFFSET) piece[index] = chains & 0xff;
      else if (at === NUM_BUFFERS_OFFSET + 1) piece[index] = chains >>> 8;
      else if (supply) piece[index] = 0;
      at += 1;
    }
  }
}
