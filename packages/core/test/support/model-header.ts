/** What the interleaving test leaves unfinished in a virtio-net header: virtio 1.2, 5.1.6. */

export const NEEDS_CHECKSUM = 1;
export const CHECKSUM_VALID = 2;
const CHECKSUM_START = 8;
const CHECKSUM_OFFSET = 2;
/** The shortest frame that has the field. */
export const CHECKED_LENGTH = CHECKSUM_START + CHECKSUM_OFFSET + 2;

/** Says in a header that the checksum of the frame behind it is to be completed. */
export function askForChecksum(header: Uint8Array): void {
  header[0] = NEEDS_CHECKSUM;
  header[6] = CHECKSUM_START;
  header[8] = CHECKSUM_OFFSET;
}

/** The frame with its checksum completed (RFC 1071), which was asked for so. */
export function completed(frame: Uint8Array): Uint8Array {
  let sum = 0;
  for (let at = CHECKSUM_START; at < frame.length; at += 2) {
    sum += ((frame[at] as number) << 8) + (frame[at + 1] ?? 0);
  }
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  const checksum = sum === 0xffff ? 0xffff : ~sum & 0xffff;
  const copy = frame.slice();
  new DataView(copy.buffer).setUint16(CHECKSUM_START + CHECKSUM_OFFSET, checksum);
  return copy;
}
