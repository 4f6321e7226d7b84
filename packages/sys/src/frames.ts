/**
 * Batches of frames between guest memory and an fd, one native call a batch, no copy in between.
 *
 * `writeFrames` and `readFrames` are for files that keep frames apart by themselves, one a call: tap
 * and macvtap devices. `sendFrames` and `receiveFrames` are for datagram, seqpacket and packet
 * sockets. All four have the semantics of `PacketSocket.send` and `receive`.
 *
 * Errors on transmit are the frame's own: `results[i]` becomes the bytes that were taken (fewer than
 * the frame has: a short write), or `-errno`, and the next frame has its turn. Two kinds mean "later"
 * and end the call: `EAGAIN`, and `ENOBUFS` or `ENOMEM`. Linux's vhost-net puts the frame back
 * after those two as well, QEMU and DPDK drop it; but they come from a full queue discipline or a
 * lack of memory, for which readiness does not wait, so that trying again at once could spin. So a
 * call that has sent something ends there, and one that meets them at its very first frame drops
 * that frame: nothing is dropped that a pause might save, and every call makes progress.
 *
 * A segment that is not inside its window, or whose window has gone, is `EFAULT` for its frame on
 * transmit; on receive the frame's turn does not come.
 */
import type { PacketBatch } from '@rxvhost/core';
import { bindBatch, bindWindows } from './batch-binding.js';
import { check } from './failure.js';
import type { FrameKeep } from './frame-keep.js';
import { loadNative } from './native.js';

/** The largest frame that a tap gives: a 64 KiB segment, Ethernet and VLAN header, vnet header. */
export const LARGEST_FRAME = 65535 + 14 + 4 + 12;

/**
 * Writes frames `first … batch.count - 1`, each with one `writev`.
 * @returns how many frames were disposed of; fewer than given: wait until `fd` is writable
 */
export function writeFrames(fd: number, batch: PacketBatch, first: number): number {
  const windows = bindWindows(batch.windows);
  const result = loadNative().writeFrames(bindBatch(batch).handle, windows.handle, fd, first);
  return check(result, 'write frames');
}

/**
 * Reads frames, each with one `readv` into the next chains. A frame that fits no buffer is dropped
 * and counted in `batch.oversized`; its chains take the next one.
 *
 * A frame may fill up to `chainsPerFrame` chains. One that needs more than are left, and may get them
 * in another batch, goes into `keep` and comes first the next time: the rules are
 * `PacketBatch.deliver`'s.
 *
 * @param keep - this file's own
 * @param largestFrame - bytes of the largest frame to expect, vnet header included: for how many
 * bytes chains are lined up once frames are large
 * @returns how many chains the batch's frames fill. Throws, when there was no frame before it, what
 * the file answers other than `EAGAIN`: `EBADFD` (the interface is gone), `EBADF`, `EIO`;
 * `ESHUTDOWN` at the end of a stream
 */
export function readFrames(
  fd: number,
  batch: PacketBatch,
  keep: FrameKeep,
  largestFrame = LARGEST_FRAME,
): number {
  const windows = bindWindows(batch.windows);
  const binding = bindBatch(batch);
  const result = loadNative().readFrames(
    binding.handle,
    windows.handle,
    fd,
    keep.bytes,
    keep.state,
    largestFrame,
  );
  binding.store(batch);
  return check(result, `read frames from fd ${fd}`);
}

/**
 * Sends frames `first … batch.count - 1` as one datagram each, up to 64 with one `sendmmsg`.
 * @param vnetHeader - for a packet socket with `setPacketVnetHeader`: bytes of virtio-net header
 * before each frame. The kernel takes 10; of 12 the last two, `num_buffers`, are left out
 * @returns how many frames were disposed of; fewer than given: wait until `fd` is writable
 */
export function sendFrames(
  fd: number,
  batch: PacketBatch,
  first: number,
  vnetHeader: 0 | 10 | 12 = 0,
): number {
  const windows = bindWindows(batch.windows);
  const { handle } = bindBatch(batch);
  const result = loadNative().sendFrames(handle, windows.handle, fd, first, vnetHeader);
  return check(result, 'send frames');
}

/**
 * Receives one frame from each datagram, up to 64 with one `recvmmsg`; a frame that fits no buffer
 * is dropped and counted in `batch.oversized`. With `chainsPerFrame` above 1 each frame's length is
 * looked at first where it may not fit, and a frame that needs more chains than are left stays in the
 * socket with `batch.wantsMore` set, unless the batch is the largest there will be.
 *
 * @returns how many chains the batch's frames fill. Throws, when there was no frame before it, what
 * the socket answers other than `EAGAIN`: `ENETDOWN`, `ECONNREFUSED`, `EBADF`, …; `ESHUTDOWN` when
 * the other end of a connection is closed
 */
export function receiveFrames(fd: number, batch: PacketBatch): number {
  const windows = bindWindows(batch.windows);
  const binding = bindBatch(batch);
  const result = loadNative().receiveFrames(binding.handle, windows.handle, fd);
  binding.store(batch);
  return check(result, `receive frames from fd ${fd}`);
}

/**
 * As {@link receiveFrames}, for packet sockets: a VLAN tag that the kernel took out of a frame and
 * tells in auxiliary data is put back (hazard T56). `frameLengths` count it, and the header.
 * @param vnetHeader - bytes of virtio-net header before each frame, as in {@link sendFrames}; the last
 * two of 12 are not written
 */
export function receivePackets(fd: number, batch: PacketBatch, vnetHeader: 0 | 10 | 12): number {
  const windows = bindWindows(batch.windows);
  const binding = bindBatch(batch);
  const result = loadNative().receivePackets(binding.handle, windows.handle, fd, vnetHeader);
  binding.store(batch);
  return check(result, `receive packets from fd ${fd}`);
}
