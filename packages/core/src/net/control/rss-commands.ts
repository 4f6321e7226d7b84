/**
 * The two commands by which a driver has frames hashed (virtio 1.2, 5.1.6.5.6 and 5.1.6.5.7). All
 * fields are little-endian.
 *
 * RSS_CONFIG: hash_types u32, indirection_table_mask u16, unclassified_queue u16,
 * indirection_table u16[mask + 1], max_tx_vq u16, hash_key_length u8, key. Queues are receive queues
 * counted from 0: the pair's number.
 *
 * HASH_CONFIG: hash_types u32, reserved u16[4], hash_key_length u8, key.
 */
import { SUPPORTED_HASH_TYPES } from '../steering/flow-hash.js';
import { HASH_KEY_LENGTH } from '../steering/toeplitz.js';

/** Entries of the longest indirection table that is taken: what the config space says. */
export const MAX_INDIRECTION_ENTRIES = 128;

/** What is hashed, and with which key. */
export interface HashConfig {
  /** Bits of `HASH_TYPE`. */
  readonly types: number;
  readonly key: Uint8Array;
}

/** Which receive queue a frame goes to. */
export interface RssConfig extends HashConfig {
  /** Queue pairs, by the low bits of the hash; a power of two of them. */
  readonly indirection: Uint16Array;
  /** The queue pair for frames that are not hashed. */
  readonly unclassified: number;
}

const RSS_HEAD = 8;
const RSS_TAIL = 3;
const HASH_HEAD = 12;

/**
 * Reads RSS_CONFIG's data; undefined for what cannot be obeyed: hash types that are not supported, a
 * table that is too long or no power of two, a queue that there is not, a key that is too long, data
 * that ends too early.
 * @param pairs - queue pairs of the NIC
 */
export function readRssConfig(data: DataView, pairs: number): RssConfig | undefined {
  if (data.byteLength < RSS_HEAD) return undefined;
  const entries = data.getUint16(4, true) + 1;
  const tail = RSS_HEAD + 2 * entries;
  const powerOfTwo = (entries & (entries - 1)) === 0;
  if (!powerOfTwo || entries > MAX_INDIRECTION_ENTRIES) return undefined;
  if (data.byteLength < tail + RSS_TAIL) return undefined;
  const unclassified = data.getUint16(6, true);
  const indirection = new Uint16Array(entries);
  for (let entry = 0; entry < entries; entry += 1) {
    indirection[entry] = data.getUint16(RSS_HEAD + 2 * entry, true);
  }
  const transmitQueues = data.getUint16(tail, true);
  if (unclassified >= pairs || indirection.some((pair) => pair >= pairs)) return undefined;
  if (transmitQueues === 0 || transmitQueues > pairs) return undefined;
  const hash = readHash(data, data.getUint32(0, true), tail + 2);
  return hash && { ...hash, indirection, unclassified };
}

/** Reads HASH_CONFIG's data; undefined as {@link readRssConfig}. */
export function readHashConfig(data: DataView): HashConfig | undefined {
  if (data.byteLength <= HASH_HEAD) return undefined;
  return readHash(data, data.getUint32(0, true), HASH_HEAD);
}

function readHash(data: DataView, types: number, lengthAt: number): HashConfig | undefined {
  const length = data.getUint8(lengthAt);
  const start = lengthAt + 1;
  if ((types & ~SUPPORTED_HASH_TYPES) !== 0) return undefined;
  if (length > HASH_KEY_LENGTH || start + length > data.byteLength) return undefined;
  const key = new Uint8Array(data.buffer, data.byteOffset + start, length).slice();
  return { types, key };
}
