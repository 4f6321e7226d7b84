import { IOTLB_READ, IOTLB_WRITE, type Iotlb, type IotlbRange } from './iotlb.js';
import type { MemoryTable, WindowRange, WindowStretch } from './memory-table.js';
import type { SegmentList } from './segment-list.js';
import type { Translator, Unreachable } from './translator.js';
import type { WindowTable } from './window-table.js';

/** I/O virtual addresses: through the device IOTLB to user addresses, from there to memory. */
export class DeviceAddresses implements Translator {
  readonly windows: WindowTable;
  missed = 0;

  constructor(
    private readonly table: MemoryTable,
    private readonly iotlb: Iotlb,
  ) {
    this.windows = table.windows;
  }

  get generation(): number {
    return this.iotlb.generation;
  }

  translate(
    address: number,
    length: number,
    segments: SegmentList,
    write: boolean,
  ): 'ok' | 'full' | Unreachable {
    const rollback = segments.count;
    for (let done = 0; done < length; ) {
      const stretch = this.#stretch(address + done, write);
      if (typeof stretch === 'string') {
        segments.count = rollback;
        return stretch;
      }
      const inStretch = address + done - stretch.start;
      const bytes = Math.min(length - done, stretch.end - stretch.start - inStretch);
      if (!segments.push(stretch.window, stretch.offset + inStretch, bytes)) {
        segments.count = rollback;
        return 'full';
      }
      done += bytes;
    }
    return 'ok';
  }

  stretchAt(address: number, write: boolean): WindowStretch | undefined {
    const stretch = this.#stretch(address, write);
    return typeof stretch === 'string' ? undefined : stretch;
  }

  /** A ring's area may be told in several ranges; in user addresses they must follow each other. */
  findRing(address: number, length: number, write: boolean): WindowRange | Unreachable {
    const end = address + length;
    let shift: number | undefined;
    for (let at = address; at < end; ) {
      const range = this.#range(at, write);
      if (typeof range === 'string') return range;
      const rangeShift = range.userAddress - range.address;
      if (shift !== undefined && rangeShift !== shift) return 'fault';
      shift = rangeShift;
      at = range.address + range.size;
    }
    return this.table.findUserRange(address + (shift ?? 0), length) ?? 'fault';
  }

  #stretch(address: number, write: boolean): WindowStretch | Unreachable {
    const range = this.#range(address, write);
    if (typeof range === 'string') return range;
    const shift = range.userAddress - range.address;
    const seen = this.table.userStretchAt(address + shift);
    if (seen === undefined) return 'fault';
    const start = Math.max(range.address, seen.start - shift);
    return {
      start,
      end: Math.min(range.address + range.size, seen.end - shift),
      window: seen.window,
      offset: seen.offset + (start + shift - seen.start),
    };
  }

  #range(address: number, write: boolean): IotlbRange | Unreachable {
    const range = this.iotlb.find(address);
    if (range === undefined) {
      this.missed = address;
      return 'miss';
    }
    return (range.access & (write ? IOTLB_WRITE : IOTLB_READ)) === 0 ? 'denied' : range;
  }
}
