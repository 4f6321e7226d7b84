import { createHash } from 'node:crypto';

const BLOCK = 1 << 20;

/**
 * The bytes that `tools/guest/vsock-tool/pattern.c` makes of the same seed: blocks of a mebibyte of
 * pseudo-random words, the first word of each being the block's number.
 */
export function* pattern(seed: number, bytes: number): Generator<Buffer> {
  const words = new Uint32Array(BLOCK / 4);
  let word = seed >>> 0;
  for (let at = 0; at < words.length; at += 1) {
    word ^= word << 13;
    word ^= word >>> 17;
    word ^= word << 5;
    words[at] = word;
  }
  for (let block = 0; block * BLOCK < bytes; block += 1) {
    words[0] = block;
    yield Buffer.from(words.slice().buffer).subarray(0, bytes - block * BLOCK);
  }
}

/** SHA-256 of so many bytes of the pattern, in hexadecimal. */
export function patternHash(seed: number, bytes: number): string {
  const hash = createHash('sha256');
  for (const block of pattern(seed, bytes)) hash.update(block);
  return hash.digest('hex');
}
