/**
 * What must come out of a NIC, whatever happens in between: the model that the interleaving test
 * compares with. It knows frames by number and says at once when one is lost, doubled, changed or
 * out of order.
 */

/** What has become of a frame that the guest has offered. */
interface Offered {
  /** As a backend is to get it. */
  readonly bytes: Uint8Array;
  /** It was offered with a checksum to complete. */
  readonly completed: boolean;
  /** The queue ran without effects while the frame was in the ring: it may be discarded. */
  mayBeDiscarded: boolean;
  taken: 'no' | 'copied' | 'outstanding' | 'completed' | 'refused';
  used: boolean;
}

/** Bytes of frame `number`, which begin with it. */
export function numberedFrame(number: number, length: number): Uint8Array {
  const frame = Uint8Array.from({ length }, (_, at) => (number * 37 + at * 11) & 0xff);
  new DataView(frame.buffer).setUint32(0, number);
  return frame;
}

const numberOf = (frame: Uint8Array) => new DataView(frame.buffer, frame.byteOffset).getUint32(0);

export class ModelLedger {
  /** Frames from the guest, by number. */
  readonly offered = new Map<number, Offered>();
  readonly counts = {
    copied: 0,
    byReference: 0,
    refused: 0,
    discarded: 0,
    oversized: 0,
    received: 0,
    /** Of those sent, with a checksum that the device was asked to complete. */
    completed: 0,
    /** Of those received, with a header that tells of a verified checksum. */
    verified: 0,
  };
  /**
   * Frames that a backend has written to guest memory, in order, and what their headers are to say;
   * the guest has to find them so.
   */
  readonly #written: { readonly frame: Uint8Array; readonly flags: number }[] = [];
  #number = 0;
  #lastTaken = -1;

  nextFrame(length: number): Uint8Array {
    const frame = numberedFrame(this.#number, length);
    this.#number += 1;
    return frame;
  }

  /** The guest makes a frame available. `bytes`: it as a backend is to get it. */
  offer(bytes: Uint8Array, mayBeDiscarded: boolean, completed: boolean): number {
    const number = numberOf(bytes);
    this.offered.set(number, { bytes, completed, mayBeDiscarded, taken: 'no', used: false });
    return number;
  }

  /** The queue runs without effects from now on. */
  discardingBegins(): void {
    for (const frame of this.offered.values()) if (!frame.used) frame.mayBeDiscarded = true;
  }

  /** A backend has been handed a frame. */
  take(bytes: Uint8Array, how: 'copied' | 'outstanding' | 'refused'): number {
    const number = numberOf(bytes);
    const frame = this.#find(number);
    if (frame.taken !== 'no') fail(`frame ${number} was sent twice`);
    if (frame.used) fail(`frame ${number} was sent after it was used`);
    if (number < this.#lastTaken) fail(`frame ${number} was sent after ${this.#lastTaken}`);
    for (let skipped = this.#lastTaken + 1; skipped < number; skipped += 1) {
      const between = this.offered.get(skipped);
      if (between !== undefined && !between.used) fail(`frame ${number} overtook ${skipped}`);
    }
    this.#compare(number, bytes);
    frame.taken = how;
    if (frame.completed) this.counts.completed += 1;
    this.#lastTaken = number;
    if (how === 'copied') this.counts.copied += 1;
    else if (how === 'refused') this.counts.refused += 1;
    else this.counts.byReference += 1;
    return number;
  }

  /** A backend is done with a frame by reference; its bytes must have stayed as they were. */
  complete(number: number, bytes: Uint8Array): void {
    this.#compare(number, bytes);
    this.#find(number).taken = 'completed';
  }

  /** The guest finds a frame's used entry. */
  use(number: number): void {
    const frame = this.#find(number);
    if (frame.used) fail(`frame ${number} was used twice`);
    if (frame.taken === 'outstanding') fail(`frame ${number} was used before it completed`);
    if (frame.taken === 'no') {
      if (!frame.mayBeDiscarded) fail(`frame ${number} was used and never sent`);
      this.counts.discarded += 1;
    }
    frame.used = true;
  }

  /** A backend has written a frame to guest memory, or has thrown it away as too large. */
  wrote(frame: Uint8Array, flags: number, outcome: 'delivered' | 'oversized'): void {
    if (outcome === 'oversized') this.counts.oversized += 1;
    else this.#written.push({ frame, flags });
  }

  /** The guest finds a received frame, and these flags in its header. */
  receive(frame: Uint8Array, flags: number): void {
    const expected = this.#written.shift();
    if (expected === undefined) throw new Error('a frame was received that no backend gave');
    const number = numberOf(expected.frame);
    if (!Buffer.from(expected.frame).equals(frame)) {
      fail(`received ${frame.length} bytes where frame ${number} was due`);
    }
    if (flags !== 0) this.counts.verified += 1;
    if (flags !== expected.flags) fail(`frame ${number} has flags ${flags}, not ${expected.flags}`);
    this.counts.received += 1;
  }

  /** The guest has reset its rings: what was not taken is gone, what was taken has been used. */
  ringsGone(): void {
    for (const [number, frame] of this.offered) {
      if (frame.taken !== 'no' && !frame.used) fail(`frame ${number} was sent and never used`);
    }
    this.offered.clear();
    if (this.#written.length > 0) fail(`${this.#written.length} frames were never published`);
  }

  /** Nothing is left to do: everything that was offered has been used. */
  checkSettled(): void {
    for (const [number, { used, taken }] of this.offered) {
      if (!used) fail(`frame ${number} (${taken}) was never used`);
    }
    if (this.#written.length > 0) fail(`${this.#written.length} frames were never published`);
  }

  #find(number: number): Offered {
    return this.offered.get(number) ?? fail(`frame ${number} is not in the ring`);
  }

  #compare(number: number, bytes: Uint8Array): void {
    const expected = this.#find(number).bytes;
    if (!Buffer.from(expected).equals(bytes)) fail(`frame ${number} was changed`);
  }
}

function fail(message: string): never {
  throw new Error(message);
}
