import { ERRNO, type ErrnoName, type Structure, type VhostDevice } from '../../src/index.js';

/** The name of what a request answered: `ok`, or the errno. */
export function answerName(answer: number): ErrnoName | 'ok' | number {
  if (answer === 0) return 'ok';
  const found = Object.entries(ERRNO).find(([, number]) => number === -answer);
  return found === undefined ? answer : (found[0] as ErrnoName);
}

/** Sends requests to a device and tells their answers by name. */
export const requester = (device: Pick<VhostDevice, 'ioctl'>) => ({
  /** A request with a structure, or with bytes, or with a null pointer. */
  async send<T>(row: { readonly code: number }, ...given: [] | [Uint8Array] | [Structure<T>, T]) {
    const [first, value] = given;
    const argument =
      first === undefined || first instanceof Uint8Array ? first : first.encode(value as T);
    return answerName(await device.ioctl(row.code, argument));
  },
  /** A request that answers in the structure: what stands there afterwards. */
  async ask<T>(row: { readonly code: number }, structure: Structure<T>, value: T): Promise<T> {
    const argument = structure.encode(value);
    const answer = answerName(await device.ioctl(row.code, argument));
    if (answer !== 'ok') throw new Error(`the request failed: ${answer}`);
    return structure.decode(argument);
  },
});

/** The bytes of a whole `struct vhost_memory`, written field by field at the header's offsets. */
export function memoryTable(
  regions: readonly { guestAddress: number; size: number; userAddress: number; padding?: number }[],
  padding = 0,
  count = regions.length,
): Uint8Array {
  const bytes = new Uint8Array(8 + 32 * regions.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, count, true);
  view.setUint32(4, padding, true);
  for (const [index, region] of regions.entries()) {
    const at = 8 + 32 * index;
    view.setBigUint64(at, BigInt(region.guestAddress), true);
    view.setBigUint64(at + 8, BigInt(region.size), true);
    view.setBigUint64(at + 16, BigInt(region.userAddress), true);
    view.setBigUint64(at + 24, BigInt(region.padding ?? 0), true);
  }
  return bytes;
}
