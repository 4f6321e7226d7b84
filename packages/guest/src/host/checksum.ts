/** The Internet checksum (RFC 1071) of `bytes`: the ones' complement of their ones' complement sum. */
export function internetChecksum(bytes: Uint8Array): number {
  let sum = 0;
  for (let at = 0; at + 1 < bytes.length; at += 2) {
    sum += ((bytes[at] as number) << 8) | (bytes[at + 1] as number);
  }
  if (bytes.length % 2 === 1) sum += (bytes[bytes.length - 1] as number) << 8;
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 0x10000);
  return ~sum & 0xffff;
}

/**
 * Four tables of 256 for four bytes a step ("slicing by 4"): table `k` is what a byte comes to when
 * `k` more bytes follow it.
 */
const CRC_TABLE = new Uint32Array(4 * 256);
for (let byte = 0; byte < 256; byte += 1) {
  let value = byte;
  for (let bit = 0; bit < 8; bit += 1) value = (value >>> 1) ^ (value & 1 ? 0xedb88320 : 0);
  CRC_TABLE[byte] = value;
}
for (let entry = 256; entry < CRC_TABLE.length; entry += 1) {
  const value = CRC_TABLE[entry - 256] as number;
  CRC_TABLE[entry] = (value >>> 8) ^ (CRC_TABLE[value & 0xff] as number);
}

/** The CRC-32 of Ethernet (reflected, polynomial 0x04c11db7) of `bytes`, unsigned. */
export function crc32(bytes: Uint8Array): number {
  const table = CRC_TABLE;
  const { length } = bytes;
  let value = ~0;
  let at = 0;
  for (; at + 4 <= length; at += 4) {
    value =
      (table[768 + ((value ^ (bytes[at] as number)) & 0xff)] as number) ^
      (table[512 + (((value >>> 8) ^ (bytes[at + 1] as number)) & 0xff)] as number) ^
      (table[256 + (((value >>> 16) ^ (bytes[at + 2] as number)) & 0xff)] as number) ^
      (table[(value >>> 24) ^ (bytes[at + 3] as number)] as number);
  }
  for (; at < length; at += 1) {
    value = (value >>> 8) ^ (table[(value ^ (bytes[at] as number)) & 0xff] as number);
  }
  return ~value >>> 0;
}
