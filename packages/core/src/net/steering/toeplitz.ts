/**
 * The Toeplitz hash that receive-side scaling is made with (virtio 1.2, 5.1.6.4.3): each set bit of
 * the input, from the first byte's highest on, adds (exclusive or) the 32 bits of the key that begin
 * at its position. A key has 32 bits more than the longest input.
 *
 * The sum is linear, so that each byte of the input has 256 possible shares, which depend on nothing
 * but its position: a table look-up for each byte, made anew with every key.
 */

/** Bytes of the longest input: two IPv6 addresses and two ports. */
export const MAX_HASH_INPUT = 36;
/** Bytes of a key: the longest input and 32 bits. */
export const HASH_KEY_LENGTH = MAX_HASH_INPUT + 4;

/** A Toeplitz hash with one key. */
export class Toeplitz {
  readonly #shares = new Uint32Array(MAX_HASH_INPUT * 256);

  /** @param key - up to {@link HASH_KEY_LENGTH} bytes; a shorter one goes on with zeros */
  constructor(key: Uint8Array) {
    const bytes = new Uint8Array(HASH_KEY_LENGTH);
    bytes.set(key.subarray(0, HASH_KEY_LENGTH));
    const view = new DataView(bytes.buffer);
    for (let position = 0; position < MAX_HASH_INPUT; position += 1) {
      this.#fillShares(position, view.getUint32(position), view.getUint8(position + 4));
    }
  }

  /** The hash of the first `length` bytes of `input`, at most {@link MAX_HASH_INPUT}. */
  hash(input: Uint8Array, length: number): number {
    const shares = this.#shares;
    let sum = 0;
    for (let position = 0; position < length; position += 1) {
      sum ^= shares[position * 256 + (input[position] as number)] as number;
    }
    return sum >>> 0;
  }

  /** What each value of the byte at `position` adds; `window` and `after` are 40 bits of the key. */
  #fillShares(position: number, window: number, after: number): void {
    const shares = this.#shares;
    const first = position * 256;
    for (let bit = 0; bit < 8; bit += 1) {
      const value = 0x80 >> bit;
      const share = bit === 0 ? window : (window << bit) | (after >> (8 - bit));
      // `other`: every value made of higher bits, whose share is known by now.
      for (let other = 0; other < 256; other += value << 1) {
        shares[first + other + value] = (shares[first + other] as number) ^ share;
      }
    }
  }
}
