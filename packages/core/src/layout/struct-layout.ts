import { VhostError } from '../errors/vhost-error.js';

/**
 * The messages of vhost-user and the arguments of vhost's requests are C structures in the machine's
 * own byte order. This module describes one as a list of typed fields and derives from it what a C
 * compiler would: every field's offset by its alignment, and the size with its tail padding.
 */

const LITTLE_ENDIAN = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;

/** One field's type: how many bytes, and how they become a value. */
export interface FieldType<T> {
  readonly size: number;
  /** Bytes; the same as the size, as for almost every C integer, when left out. */
  readonly alignment?: number;
  read(view: DataView, at: number): T;
  write(view: DataView, at: number, value: T): void;
}

export const u8: FieldType<number> = {
  size: 1,
  read: (view, at) => view.getUint8(at),
  write: (view, at, value) => view.setUint8(at, value),
};

export const u16: FieldType<number> = {
  size: 2,
  read: (view, at) => view.getUint16(at, LITTLE_ENDIAN),
  write: (view, at, value) => view.setUint16(at, value, LITTLE_ENDIAN),
};

export const u32: FieldType<number> = {
  size: 4,
  read: (view, at) => view.getUint32(at, LITTLE_ENDIAN),
  write: (view, at, value) => view.setUint32(at, value, LITTLE_ENDIAN),
};

export const i32: FieldType<number> = {
  size: 4,
  read: (view, at) => view.getInt32(at, LITTLE_ENDIAN),
  write: (view, at, value) => view.setInt32(at, value, LITTLE_ENDIAN),
};

/** 64 bits whose single bits matter (features), or that may hold anything. */
export const u64: FieldType<bigint> = {
  size: 8,
  read: (view, at) => view.getBigUint64(at, LITTLE_ENDIAN),
  write: (view, at, value) => view.setBigUint64(at, value, LITTLE_ENDIAN),
};

/** The same as a compiler for i386 lays it out: there 64 bits need be aligned to 32 only. */
export const u64OfI386: FieldType<bigint> = { ...u64, alignment: 4 };

/** A 64-bit address or size as a number: one of 2^53 or more fails the message (`EOVERFLOW`). */
export const address: FieldType<number> = {
  size: 8,
  read: (view, at) => toAddress(u64.read(view, at)),
  write: (view, at, value) => u64.write(view, at, BigInt(value)),
};

/** A 64-bit value as a number. Throws `EOVERFLOW` when a number does not hold it exactly. */
export function toAddress(value: bigint): number {
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) {
    throw new VhostError('EOVERFLOW', `address or size 0x${value.toString(16)} is not below 2^53`);
  }
  return Number(value);
}

/** Turns payload bytes into a value and back. */
export interface Codec<T> {
  /** What the payload is called in messages about it. */
  readonly name: string;
  encode(value: T): Uint8Array;
  /** Throws {@link WrongPayloadSize}, or `EOVERFLOW` or `EINVAL` for a bad value. */
  decode(bytes: Uint8Array): T;
}

type Fields = Readonly<Record<string, FieldType<unknown>>>;
type Values<F extends Fields> = {
  readonly [K in keyof F]: F[K] extends FieldType<infer T> ? T : never;
};

/** A codec of fixed size that knows where its fields are. */
export interface StructCodec<T> extends Codec<T> {
  /** Bytes, tail padding included. */
  readonly size: number;
  /** Each field's offset in bytes. */
  readonly offsets: Readonly<Record<keyof T, number>>;
}

interface PlacedField {
  readonly name: string;
  readonly at: number;
  readonly type: FieldType<unknown>;
}

/** Describes a C structure. Fields stand in the order given; names that begin with `_` are padding. */
export function struct<F extends Fields>(name: string, fields: F): StructCodec<Values<F>> {
  const placed: PlacedField[] = [];
  let end = 0;
  let alignment = 1;
  for (const [field, type] of Object.entries(fields) as [string, FieldType<unknown>][]) {
    const { alignment: fieldAlignment = type.size } = type;
    const at = roundUp(end, fieldAlignment);
    placed.push({ name: field, at, type });
    end = at + type.size;
    alignment = Math.max(alignment, fieldAlignment);
  }
  const size = roundUp(end, alignment);
  return {
    name,
    size,
    offsets: Object.fromEntries(placed.map((field) => [field.name, field.at])) as Record<
      keyof F,
      number
    >,
    encode(value) {
      const bytes = new Uint8Array(size);
      const view = new DataView(bytes.buffer);
      const values = value as Record<string, unknown>;
      for (const field of placed) field.type.write(view, field.at, values[field.name]);
      return bytes;
    },
    decode(bytes) {
      checkSize(name, bytes, size);
      const view = new DataView(bytes.buffer, bytes.byteOffset, size);
      const entries = placed.map((field) => [field.name, field.type.read(view, field.at)]);
      return Object.fromEntries(entries) as Values<F>;
    },
  };
}

/** `EMSGSIZE`: the payload has too few or too many bytes to be what it should be. */
export class WrongPayloadSize extends VhostError {
  constructor(name: string, bytes: number, expected: number) {
    super('EMSGSIZE', `${name}: ${bytes} bytes of payload, not ${expected}`);
  }
}

/** Throws {@link WrongPayloadSize} unless `bytes` are exactly `size`. */
export function checkSize(name: string, bytes: Uint8Array, size: number): void {
  if (bytes.length !== size) throw new WrongPayloadSize(name, bytes.length, size);
}

function roundUp(value: number, multiple: number): number {
  return Math.ceil(value / multiple) * multiple;
}
