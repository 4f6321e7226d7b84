import { VhostError } from '../errors/vhost-error.js';
import type { MemoryMapping } from './mapping.js';

/**
 * Every window of a memory table, numbered, with the typed views that the ring code reads through.
 * A segment names its window by this number. `address` and `length` are what native code needs to
 * turn a segment into a pointer and to check it once more.
 */
export class WindowTable {
  /** Host address of each window's first byte; 0 where native code cannot reach it. */
  readonly address: Float64Array;
  /** Bytes in each window. */
  readonly length: Uint32Array;
  /**
   * Guest-physical address of each window's first byte, were the region that far: below the region's
   * own address where that begins later in the window.
   */
  readonly guestBase: Float64Array;
  /** Where native code keeps what it prepared for this table; nobody else looks at it. */
  nativeBinding: unknown = undefined;

  readonly #bytes: Uint8Array[] = [];
  readonly #halves: Uint16Array[] = [];
  readonly #words: Int32Array[] = [];
  readonly #views: DataView[] = [];

  constructor(windows: readonly TableWindow[]) {
    this.address = new Float64Array(windows.length);
    this.length = new Uint32Array(windows.length);
    this.guestBase = new Float64Array(windows.length);
    for (const [index, { buffer, address, guestBase }] of windows.entries()) {
      this.address[index] = address;
      this.guestBase[index] = guestBase;
      this.length[index] = buffer.byteLength;
      this.#bytes.push(new Uint8Array(buffer));
      this.#halves.push(new Uint16Array(buffer, 0, buffer.byteLength >>> 1));
      this.#words.push(new Int32Array(buffer, 0, buffer.byteLength >>> 2));
      this.#views.push(new DataView(buffer));
    }
  }

  /** How many windows there are. */
  get count(): number {
    return this.#bytes.length;
  }

  /** Window `index` as bytes. Throws `EFAULT` where there is no such window. */
  bytes(index: number): Uint8Array {
    return this.#bytes[index] ?? noWindow(index);
  }

  /** Window `index` as 16-bit words. */
  halves(index: number): Uint16Array {
    return this.#halves[index] ?? noWindow(index);
  }

  /** Window `index` as 32-bit words, signed: V8 has to check unsigned ones wherever it compares. */
  words(index: number): Int32Array {
    return this.#words[index] ?? noWindow(index);
  }

  /** Window `index` for reads at any alignment. */
  view(index: number): DataView {
    return this.#views[index] ?? noWindow(index);
  }

  /**
   * Makes every window zero bytes long for native code. Called before the memory goes, so that a
   * batch somebody kept past its time is refused rather than followed.
   */
  invalidate(): void {
    this.address.fill(0);
    this.length.fill(0);
  }
}

/** One window as {@link WindowTable} takes it; the fields are the table's. */
export interface TableWindow {
  readonly buffer: ArrayBuffer;
  readonly address: number;
  readonly guestBase: number;
}

/**
 * The windows of a mapping in the shape that {@link WindowTable} takes.
 * @param guestBase - guest-physical address of the mapping's first byte
 */
export function windowsOf(mapping: MemoryMapping, stride: number, guestBase = 0): TableWindow[] {
  return mapping.windows.map((buffer, index) => ({
    buffer,
    address: mapping.address === 0 ? 0 : mapping.address + index * stride,
    guestBase: guestBase + index * stride,
  }));
}

function noWindow(index: number): never {
  throw new VhostError('EFAULT', `there is no memory window ${index}`);
}
