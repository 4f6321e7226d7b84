import type { Subscription } from 'rxjs';
import type { PacketSocket } from '../backend/packet-socket.js';
import { type MemoryMapping, WINDOW_STRIDE } from '../memory/mapping.js';
import { WindowTable, windowsOf } from '../memory/window-table.js';
import { PacketBatch } from '../virtqueue/packet-batch.js';

const FRAME_LENGTH = 60;
const ETHERTYPE_RARP = 0x8035;
const HARDWARE_ETHERNET = 1;
const PROTOCOL_IPV4 = 0x0800;
const REVERSE_REQUEST = 3;

/**
 * A reverse-ARP request from `mac`, sent to everybody (RFC 903). After a guest has moved to another
 * host nobody needs its answer: the switches on its way learn at which port the guest is now.
 */
export function reverseArpFrame(mac: Uint8Array): Uint8Array {
  const frame = new Uint8Array(FRAME_LENGTH);
  const view = new DataView(frame.buffer);
  frame.fill(0xff, 0, 6);
  frame.set(mac, 6);
  view.setUint16(12, ETHERTYPE_RARP);
  view.setUint16(14, HARDWARE_ETHERNET);
  view.setUint16(16, PROTOCOL_IPV4);
  view.setUint8(18, mac.length);
  view.setUint8(19, 4);
  view.setUint16(20, REVERSE_REQUEST);
  frame.set(mac, 22);
  frame.set(mac, 32);
  return frame;
}

/**
 * Sends one frame of the device's own, not the guest's, once: now, or when the socket has room.
 * @param memory - room for header and frame, which the socket can reach; released when it is sent
 * @returns ends the waiting
 */
export function sendOwnFrame(
  socket: PacketSocket,
  frame: Uint8Array,
  memory: MemoryMapping,
): () => void {
  const { headerLength } = socket;
  const length = headerLength + frame.length;
  const windows = new WindowTable(windowsOf(memory, WINDOW_STRIDE));
  windows.bytes(0).fill(0, 0, headerLength);
  windows.bytes(0).set(frame, headerLength);
  const batch = new PacketBatch(1, 1);
  batch.reset(windows, 0);
  batch.segments.push(0, 0, length);
  batch.lengths[0] = length;
  batch.firstSegment[1] = 1;
  batch.count = 1;

  let waiting: Subscription | undefined;
  let ended = false;
  const end = (): void => {
    if (ended) return;
    ended = true;
    waiting?.unsubscribe();
    windows.invalidate();
    memory.release();
  };
  const trySend = (): void => {
    if (!ended && socket.send(batch, 0) > 0) end();
  };
  trySend();
  if (!ended) waiting = socket.writable$.subscribe({ next: trySend, error: end, complete: end });
  return end;
}
