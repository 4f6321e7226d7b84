/** What descriptors of both ring layouts have in common (virtio 1.2, 2.7.5 and 2.8.6). */

/** Bytes of one descriptor: address u64, length u32, and two u16 that differ by layout. */
export const DESCRIPTOR_SIZE = 16;
/** Flags: the chain goes on; the device writes here; it is an indirect table. */
export const DESCRIPTOR_NEXT = 1;
export const DESCRIPTOR_WRITE = 2;
export const DESCRIPTOR_INDIRECT = 4;
/** The largest virtqueue, split or packed. */
export const MAX_QUEUE_SIZE = 32768;
/** The most entries of an indirect table, as in the kernel (seed B2). */
export const MAX_INDIRECT_ENTRIES = 65535;
