import { VhostError } from '../errors/vhost-error.js';
import type { WindowRange, WindowStretch } from './memory-table.js';
import type { SegmentList } from './segment-list.js';
import type { WindowTable } from './window-table.js';

/**
 * Why a range cannot be used: it is not in guest memory (`fault`); it may not be accessed like this
 * (`denied`); nobody has told us yet where it lies (`miss`, behind an IOMMU only).
 */
export type Unreachable = 'fault' | 'denied' | 'miss';

/**
 * What turns the addresses that a driver writes into places in memory. A {@link MemoryTable} takes
 * them as guest-physical addresses; behind a virtual IOMMU a `DeviceAddresses` looks each up in what
 * the front-end has told so far.
 */
export interface Translator {
  readonly windows: WindowTable;
  /** Another number whenever something found before may no longer hold. */
  readonly generation: number;
  /** The address that the last `miss` was about. */
  readonly missed: number;

  /**
   * Appends the pieces of `[address, address + length)`. Zero bytes append nothing and are always
   * accessible. Appends nothing unless `'ok'`.
   * @param write - whether the device means to write there
   */
  translate(
    address: number,
    length: number,
    segments: SegmentList,
    write: boolean,
  ): 'ok' | 'full' | Unreachable;

  /** The widest stretch around `address` that one window shows; undefined where there is none. */
  stretchAt(address: number, write: boolean): WindowStretch | undefined;

  /** Where a ring's area lies, whole in one window. */
  findRing(address: number, length: number, write: boolean): WindowRange | Unreachable;
}

/**
 * An address that the device needs and has no translation for (seed B10). Not a fault: the queue
 * stands still until the front-end has told.
 */
export class IotlbMiss extends VhostError {
  /**
   * @param address - the I/O virtual address
   * @param write - whether the device means to write there
   */
  constructor(
    readonly address: number,
    readonly write: boolean,
  ) {
    super('EAGAIN', `no translation for the ${write ? 'written' : 'read'} address ${hex(address)}`);
  }
}

/** The error for a range that cannot be used. */
export function unreachable(
  why: Unreachable,
  what: string,
  [address, length]: readonly [number, number],
  { missed, write }: { readonly missed: number; readonly write: boolean },
): VhostError {
  const range = `${what} at ${hex(address)} (${length} bytes)`;
  switch (why) {
    case 'fault':
      return new VhostError('EFAULT', `${range} is not in guest memory`);
    case 'denied':
      return new VhostError('EPERM', `${range} may not be ${write ? 'written' : 'read'}`);
    case 'miss':
      return new IotlbMiss(missed, write);
  }
}

function hex(address: number): string {
  return `0x${address.toString(16)}`;
}
