/**
 * A device's state as bytes, for a front-end to carry to another host (vhost-user DEVICE_STATE). What
 * arrives may be anything: cut off, of another device, of a version that is not here yet. So it
 * begins with 16 bytes that say what it is, all numbers little-endian: `magic u32, version u16, kind
 * u16, length u32, checksum u32`. The length is the body's; the checksum is of all but itself.
 */
import { VhostError } from '../../errors/vhost-error.js';
import { viewOf } from '../../memory/copy-bytes.js';

/** The most bytes that a state may have: far more than any device's here. */
export const MAX_STATE_BYTES = 256 * 1024;

const MAGIC = 0x5356_5852;
const HEAD_BYTES = 16;
const CHECKSUM_AT = 12;

/** Whose state it is, and in which form. */
export interface StateKind {
  /** The virtio device's number: 1 for a NIC, 19 for a vsock. */
  readonly device: number;
  readonly version: number;
}

/** Writes a state, field after field. */
export class StateWriter {
  #bytes = new Uint8Array(1024);
  #length = HEAD_BYTES;

  u8(value: number): void {
    this.#room(1).setUint8(0, value);
  }

  u16(value: number): void {
    this.#room(2).setUint16(0, value, true);
  }

  u32(value: number): void {
    this.#room(4).setUint32(0, value, true);
  }

  u64(value: bigint): void {
    this.#room(8).setBigUint64(0, value, true);
  }

  /** The bytes alone: how many they are is for the reader to know. */
  bytes(bytes: Uint8Array): void {
    const { buffer, byteOffset } = this.#room(bytes.length);
    new Uint8Array(buffer, byteOffset, bytes.length).set(bytes);
  }

  /** The whole state. */
  finish({ device, version }: StateKind): Uint8Array {
    const state = this.#bytes.slice(0, this.#length);
    const view = viewOf(state);
    view.setUint32(0, MAGIC, true);
    view.setUint16(4, version, true);
    view.setUint16(6, device, true);
    view.setUint32(8, state.length - HEAD_BYTES, true);
    view.setUint32(CHECKSUM_AT, checksum(state), true);
    return state;
  }

  #room(bytes: number): DataView<ArrayBuffer> {
    const at = this.#length;
    this.#length += bytes;
    if (this.#length > this.#bytes.length) {
      const grown = new Uint8Array(2 * this.#length);
      grown.set(this.#bytes);
      this.#bytes = grown;
    }
    return new DataView(this.#bytes.buffer, at, bytes);
  }
}

/**
 * Reads a state, field after field. Everything throws `EINVAL` for what is not the state of such a
 * device in this version, whole and unchanged.
 */
export class StateReader {
  readonly #view: DataView;
  #at = HEAD_BYTES;

  constructor(state: Uint8Array, { device, version }: StateKind) {
    const view = viewOf(state);
    if (state.length < HEAD_BYTES || view.getUint32(0, true) !== MAGIC) {
      throw new VhostError('EINVAL', 'this is no state of a device');
    }
    const found = { version: view.getUint16(4, true), device: view.getUint16(6, true) };
    if (found.device !== device || found.version !== version) {
      throw new VhostError(
        'EINVAL',
        `a state of device ${found.device}, version ${found.version}; not of ${device}, ${version}`,
      );
    }
    if (view.getUint32(8, true) !== state.length - HEAD_BYTES) {
      throw new VhostError(
        'EINVAL',
        `a state of ${state.length} bytes: it is cut off, or too long`,
      );
    }
    if (view.getUint32(CHECKSUM_AT, true) !== checksum(state)) {
      throw new VhostError('EINVAL', 'a state whose checksum is wrong');
    }
    this.#view = view;
  }

  u8(): number {
    return this.#view.getUint8(this.#take(1));
  }

  u16(): number {
    return this.#view.getUint16(this.#take(2), true);
  }

  u32(): number {
    return this.#view.getUint32(this.#take(4), true);
  }

  u64(): bigint {
    return this.#view.getBigUint64(this.#take(8), true);
  }

  /** A number that must not be over `limit`. */
  count(limit: number): number {
    const value = this.u32();
    if (value > limit) throw new VhostError('EINVAL', `a state with ${value} where ${limit} fit`);
    return value;
  }

  flag(): boolean {
    const value = this.u8();
    if (value > 1) throw new VhostError('EINVAL', `a state with ${value} for a yes or no`);
    return value === 1;
  }

  /** A copy. */
  bytes(length: number): Uint8Array {
    const at = this.#take(length);
    return new Uint8Array(this.#view.buffer, this.#view.byteOffset + at, length).slice();
  }

  /** Nothing may be left. */
  end(): void {
    if (this.#at !== this.#view.byteLength) throw new VhostError('EINVAL', 'a state with a rest');
  }

  #take(length: number): number {
    const at = this.#at;
    if (at + length > this.#view.byteLength) {
      throw new VhostError('EINVAL', 'a state that ends too early');
    }
    this.#at += length;
    return at;
  }
}

/** CRC-32, as in Ethernet, of everything but the checksum's own place. */
function checksum(state: Uint8Array): number {
  let sum = 0xffff_ffff;
  for (let at = 0; at < state.length; at += 1) {
    if (at >= CHECKSUM_AT && at < HEAD_BYTES) continue;
    sum ^= state[at] as number;
    for (let bit = 0; bit < 8; bit += 1) sum = (sum >>> 1) ^ (0xedb8_8320 & -(sum & 1));
  }
  return ~sum >>> 0;
}
