import { DESCRIPTOR_SIZE } from '../descriptor.js';

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

/** Available-ring flag: the driver wants no calls. */
export const AVAILABLE_NO_INTERRUPT = 1;
/** Used-ring flag: the device wants no kicks. */
export const USED_NO_NOTIFY = 1;

/** Bytes of the descriptor table of a queue of `size`. */
export const descriptorTableBytes = (size: number): number => DESCRIPTOR_SIZE * size;
/** Bytes of the available ring, `used_event` included. */
export const availableRingBytes = (size: number): number => 6 + 2 * size;
/** Bytes of the used ring, `avail_event` included. */
export const usedRingBytes = (size: number): number => 6 + 8 * size;
