/**
 * A second virtual CPU that does not wait for anybody: it maps the guest's memory for itself and
 * writes descriptors, ring entries and indirect tables, right ones and wrong ones in turn, until told
 * to stop. Run as a worker thread.
 */

import { workerData } from 'node:worker_threads';
import { mapShared } from '@rxvhost/sys';

/** What the worker is told. Offsets are bytes in the mapping. */
export interface ScribblerTask {
  readonly fd: number;
  readonly size: number;
  /** 64-bit addresses as two halves, low first, to write into descriptors. */
  readonly addresses: readonly (readonly [number, number])[];
  readonly lengths: readonly number[];
  readonly flags: readonly number[];
  /** Descriptor tables: where they begin and how many descriptors they have. */
  readonly tables: readonly { readonly offset: number; readonly entries: number }[];
  readonly availableRing: number;
  readonly queueSize: number;
  /** Word 0: not zero means stop. Word 1: writes made, for the test to know that there were some. */
  readonly control: SharedArrayBuffer;
}

const task = workerData as ScribblerTask;
const [buffer] = mapShared(task.fd, 0, task.size).windows;
const view = new DataView(buffer as ArrayBuffer);
const control = new Int32Array(task.control);
let random = 12345;
const pick = <T>(from: readonly T[]): T => {
  random = (Math.imul(random, 1103515245) + 12345) >>> 0;
  return from[(random >>> 8) % from.length] as T;
};
const indices = Array.from({ length: task.queueSize + 1 }, (_, index) => index);

while (Atomics.load(control, 0) === 0) {
  for (let write = 0; write < 1000; write += 1) {
    const { offset, entries } = pick(task.tables);
    const at = offset + 16 * (pick(indices) % entries);
    switch (write % 6) {
      case 0: {
        const [low, high] = pick(task.addresses);
        view.setUint32(at, low, true);
        view.setUint32(at + 4, high, true);
        break;
      }
      case 1:
        view.setUint32(at + 8, pick(task.lengths), true);
        break;
      case 2:
        view.setUint16(at + 12, pick(task.flags), true);
        break;
      case 3:
        view.setUint16(at + 14, pick(indices), true);
        break;
      case 4:
        view.setUint16(task.availableRing + 4 + 2 * (write % task.queueSize), pick(indices), true);
        break;
      default:
        // Most of the time all is well, so that the device gets somewhere.
        view.setUint16(at + 12, 0, true);
        view.setUint32(at + 8, 72, true);
        view.setUint32(at, task.addresses[0]?.[0] ?? 0, true);
        view.setUint32(at + 4, 0, true);
    }
  }
  Atomics.add(control, 1, 1000);
}
