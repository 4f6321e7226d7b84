import { type FieldType, i32, struct, u32, u64 } from '../../layout/struct-layout.js';
import { checkMemoryTableHeader, type MemoryTableRequest } from '../memory-table-request.js';
import { type Argument, fault, type Structure } from './argument.js';

/**
 * The structures of `linux/vhost.h`. Each has the same layout for 32-bit and 64-bit callers: no field
 * is a pointer or a `long`, and every 64-bit field stands at a multiple of eight, where i386, which
 * aligns those to four only, puts it too.
 */

/** A `__u64` by itself. */
export const U64 = scalar('__u64', u64);
/** An `int` by itself. */
export const INT = scalar('int', i32);
/** `struct vhost_vring_state`: a queue and a number. */
export const VRING_STATE = struct('vhost_vring_state', { index: u32, num: u32 });
/** `struct vhost_vring_file`: a queue and an fd; −1 is none. */
export const VRING_FILE = struct('vhost_vring_file', { index: u32, fd: i32 });
/** `struct vhost_vring_addr`; the field names are the header's, shortened. */
export const VRING_ADDRESS = struct('vhost_vring_addr', {
  index: u32,
  flags: u32,
  descriptors: u64,
  used: u64,
  available: u64,
  log: u64,
});
/** `struct vhost_memory` without the regions that follow it. */
export const MEMORY_HEADER = struct('vhost_memory', { count: u32, padding: u32 });
/** `struct vhost_memory_region`. */
export const MEMORY_REGION = struct('vhost_memory_region', {
  guestAddress: u64,
  size: u64,
  userAddress: u64,
  padding: u64,
});

/**
 * A whole memory table. What the header says is checked before any region is read, so a count without
 * bound costs nothing.
 */
export function readMemoryTable(argument: Argument): MemoryTableRequest {
  const { count, padding } = argument.read(MEMORY_HEADER);
  checkMemoryTableHeader(padding, count);
  const regions = Array.from({ length: count }, (_, index) => {
    const region = argument.read(MEMORY_REGION, MEMORY_HEADER.size + index * MEMORY_REGION.size);
    return {
      guestAddress: Number(region.guestAddress),
      size: Number(region.size),
      userAddress: userRange(region.userAddress, region.size),
      padding: Number(region.padding),
    };
  });
  return { padding, regions };
}

/**
 * An address as a number. One of 2^53 or more is rounded, but not below 2^53, where nothing can be
 * registered: what lies there is not accessible, whatever its exact address.
 */
export function addressOf(value: bigint): number {
  return Number(value);
}

function userRange(address: bigint, size: bigint): number {
  if (address + size > 1n << 64n) throw fault('the end of a region is over 2^64');
  return addressOf(address);
}

/** A structure that is one field. */
export function scalar<T>(name: string, type: FieldType<T>): Structure<T> {
  const whole = struct(name, { value: type });
  return {
    name,
    size: whole.size,
    decode: (bytes) => whole.decode(bytes).value,
    encode: (value) => whole.encode({ value }),
  };
}
