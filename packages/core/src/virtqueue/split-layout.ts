/**
 * The split virtqueue in memory (virtio 1.2, 2.7): three areas, all little-endian.
 *
 * - *descriptor table*, 16 bytes each: address u64, length u32, flags u16, next u16
 * - *available ring*, written by the driver: flags u16, index u16, a head u16 for each entry, and at
 *   the end `used_event` u16
 * - *used ring*, written by the device: flags u16, index u16, {head u32, bytes written u32} for each
 *   entry, and at the end `avail_event` u16
 *
 * Both indices count up for ever modulo 2^16; an entry's slot is its index modulo the queue size.
 */

/** Bytes of one descriptor. */
export const DESCRIPTOR_SIZE = 16;
/** The largest split virtqueue. */
export const MAX_QUEUE_SIZE = 32768;
/** Descriptor flags: the chain goes on at `next`; the device writes here; it is an indirect table. */
export const DESCRIPTOR_NEXT = 1;
export const DESCRIPTOR_WRITE = 2;
export const DESCRIPTOR_INDIRECT = 4;
/** Available-ring flag: the driver wants no calls. */
export const AVAILABLE_NO_INTERRUPT = 1;
/** Used-ring flag: the device wants no kicks. */
export const USED_NO_NOTIFY = 1;
/** The most entries of an indirect table, as in the kernel (seed B2). */
export const MAX_INDIRECT_ENTRIES = 65535;

/** Bytes of the descriptor table of a queue of `size`. */
export const descriptorTableBytes = (size: number): number => DESCRIPTOR_SIZE * size;
/** Bytes of the available ring, `used_event` included. */
export const availableRingBytes = (size: number): number => 6 + 2 * size;
/** Bytes of the used ring, `avail_event` included. */
export const usedRingBytes = (size: number): number => 6 + 8 * size;
