import { ArrayBufferMapping, DirtyLog } from '../../src/index.js';

const PAGE = 4096;

/** A migration's dirty log as a VMM reads it: what the device has written must stand there. */
export class ModelLog {
  /** Pages of writes that were looked for. */
  checked = 0;
  readonly #bits: Uint8Array;
  #pages = new Set<number>();

  /** @param memory - bytes of guest-physical addresses that it covers */
  constructor(memory: number) {
    this.#bits = new Uint8Array(Math.ceil(memory / PAGE / 8));
  }

  /** The same log as the device is given it; one for each time that it is given. */
  open(): DirtyLog {
    return new DirtyLog(new ArrayBufferMapping(this.#bits.buffer as ArrayBuffer));
  }

  /** Takes over what was logged since the last time, and forgets what was before. */
  harvest(): void {
    this.#pages = new Set();
    for (const [byte, set] of this.#bits.entries()) {
      for (let bit = 0; bit < 8; bit += 1) if ((set >> bit) & 1) this.#pages.add(byte * 8 + bit);
    }
    this.#bits.fill(0);
  }

  /** Throws unless all pages of a write were logged. */
  check(address: number, length: number): void {
    const last = Math.floor((address + length - 1) / PAGE);
    for (let page = Math.floor(address / PAGE); page <= last; page += 1) {
      this.checked += 1;
      if (!this.#pages.has(page)) throw new Error(`page ${page} was written and not logged`);
    }
  }
}
