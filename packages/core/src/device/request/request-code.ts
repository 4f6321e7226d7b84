/**
 * How Linux numbers the requests of a device file: direction, size of the structure that the argument
 * points to, a type that belongs to the driver, and a number of the driver's own, in one 32-bit word.
 * This is the layout of x86, ARM and RISC-V; MIPS, PowerPC and SPARC divide the word otherwise.
 */

/** The type of every vhost request. */
const VHOST_TYPE = 0xaf;
const TYPE_SHIFT = 8;
const SIZE_SHIFT = 16;
const DIRECTION_SHIFT = 30;
/** The caller's structure is read. */
const WRITE = 1;
/** The caller's structure is written. */
const READ = 2;

/** A request without a structure. */
export const io = (number: number): number => encode(0, number, 0);
/** A request that reads a structure of `size` bytes. */
export const iow = (number: number, size: number): number => encode(WRITE, number, size);
/** A request that writes a structure of `size` bytes. */
export const ior = (number: number, size: number): number => encode(READ, number, size);
/** A request that reads a structure of `size` bytes, then writes it. */
export const iowr = (number: number, size: number): number => encode(READ | WRITE, number, size);

function encode(direction: number, number: number, size: number): number {
  const word =
    (direction << DIRECTION_SHIFT) | (size << SIZE_SHIFT) | (VHOST_TYPE << TYPE_SHIFT) | number;
  return word >>> 0;
}
