/**
 * The inflight region of a packed queue. A header of 32 bytes: features u64, version u16, desc_num
 * u16, free_head u16, old_free_head u16, used_idx u16, old_used_idx u16, used_wrap u8, old_used_wrap
 * u8; then for each descriptor 32 bytes: inflight u8, unused u8, next u16, last u16, num u16, counter
 * u64, and a copy of a ring's descriptor: id u16, flags u16, length u32, address u64.
 *
 * Entries that are free form a list from `free_head` by `next`. A chain takes as many of them as it
 * has descriptors in the ring; the first one says `num`, `last` and `counter`.
 *
 * A packed ring has no index of what is used: used descriptors overwrite available ones, and the
 * first of a batch makes all of it visible. So there are two pairs of free list and used position.
 * Giving back moves the new pair on; then comes the publication; then the old pair follows. The next
 * back-end looks whether the descriptor at the old position is used: if so the batch was published,
 * otherwise it was not, though its other descriptors may be overwritten; the copies bring them back.
 */

export const HEADER_BYTES = 32;
export const ENTRY_BYTES = 32;
export const VERSION_AT = 8;
export const SIZE_AT = 10;
export const FREE_AT = 12;
export const OLD_FREE_AT = 14;
export const USED_AT = 16;
export const OLD_USED_AT = 18;
export const WRAP_AT = 20;
export const OLD_WRAP_AT = 21;
export const IN_ENTRY = {
  NEXT: 2,
  LAST: 4,
  NUMBER: 6,
  COUNTER: 8,
  ID: 16,
  LENGTH: 20,
  ADDRESS: 24,
};

/** Bytes of the region of a queue with `size` descriptors. */
export function packedInflightBytes(size: number): number {
  return HEADER_BYTES + ENTRY_BYTES * size;
}
