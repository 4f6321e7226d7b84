export { FrameBuffers } from '@rxvhost/sys/testing';

export const GUEST_MAC = [0x52, 0x54, 0, 0, 0, 1];
const BROADCAST = [255, 255, 255, 255, 255, 255];

/** `header` zero bytes and then an ARP request: who has 10.77.0.1, tell 10.77.0.2. */
export function arpRequest(header: number): Uint8Array {
  return Uint8Array.from([
    ...Array<number>(header).fill(0),
    ...BROADCAST,
    ...GUEST_MAC,
    ...[8, 6, 0, 1, 8, 0, 6, 4, 0, 1],
    ...GUEST_MAC,
    ...[10, 77, 0, 2],
    ...[0, 0, 0, 0, 0, 0],
    ...[10, 77, 0, 1],
  ]);
}

/** Whether `frame`, behind `header` bytes, is the answer to {@link arpRequest}. */
export function isArpReply(frame: Uint8Array, header: number): boolean {
  const bytes = [...frame.subarray(header)];
  const toGuest = bytes.slice(0, 6).join() === GUEST_MAC.join();
  const reply = bytes.slice(12, 22).join() === [8, 6, 0, 1, 8, 0, 6, 4, 0, 2].join();
  return toGuest && reply && bytes.slice(28, 32).join() === '10,77,0,1';
}
