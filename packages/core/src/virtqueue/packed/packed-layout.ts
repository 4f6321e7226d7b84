/**
 * The packed virtqueue in memory (virtio 1.2, 2.8): one ring that both sides write, and two words.
 *
 * - *descriptor ring*, 16 bytes each: address u64, length u32, buffer id u16, flags u16
 * - *driver event suppression*, written by the driver, and *device event suppression*, written by the
 *   device: offset (15 bits) and wrap counter u16, flags u16. In the requests they stand where a split
 *   ring's available and used rings do.
 *
 * Each side goes round the ring with a wrap counter that begins at 1 and turns over at the end. A
 * descriptor is *available* when its AVAIL flag is the driver's counter and its USED flag the
 * opposite, and *used* when both are the device's counter. The device writes one used descriptor for
 * a chain, where the oldest descriptor that is not used stands, and skips as many as the chain had.
 */

/** Flags of a packed descriptor beside those of both layouts. */
export const PACKED_AVAILABLE = 1 << 7;
export const PACKED_USED = 1 << 15;

/** Bytes of an event suppression area. */
export const EVENT_BYTES = 4;
/** What its flags ask for: a notification each time; none; one at the offset (EVENT_IDX only). */
export const EVENT_ENABLE = 0;
export const EVENT_DISABLE = 1;
export const EVENT_DESCRIPTOR = 2;

const WRAP = 1 << 15;
const POSITION = WRAP - 1;

/** A place in a packed ring as half a base, or an event's offset: the position below its wrap counter. */
export function packPosition(position: number, wrap: number): number {
  return position | (wrap === 1 ? WRAP : 0);
}

/** The position in {@link packPosition}'s result. */
export const positionOf = (packed: number): number => packed & POSITION;
/** The wrap counter in {@link packPosition}'s result. */
export const wrapOf = (packed: number): 0 | 1 => ((packed & WRAP) === 0 ? 0 : 1);

/**
 * The base of a ring that nobody has used: available (bits 0 … 15) and used (bits 16 … 31) at position
 * 0 with wrap counter 1.
 */
export const INITIAL_PACKED_BASE = 0x8000_8000;

/** A base as GET_VRING_BASE answers it. */
export function packBase(available: number, used: number): number {
  return (available | (used << 16)) >>> 0;
}

/**
 * Both halves of a base. Front-ends such as DPDK's leave the upper half zero: then the used position is
 * the available one, as it is whenever nothing is outstanding.
 */
export function unpackBase(base: number): { available: number; used: number } {
  const available = base & 0xffff;
  const used = base >>> 16;
  return { available, used: used === 0 ? available : used };
}

/** Descriptors between a used and an available position; negative or over `size` for an impossible base. */
export function outstandingIn(base: number, size: number): number {
  const { available, used } = unpackBase(base);
  const round = wrapOf(available) === wrapOf(used) ? 0 : size;
  return positionOf(available) - positionOf(used) + round;
}
