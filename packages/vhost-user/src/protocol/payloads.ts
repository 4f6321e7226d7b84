import { errnoName, IOTLB_MESSAGE, VhostError } from '@rxvhost/core';
import { address, type Codec, checkSize, struct, toAddress, u16, u32, u64 } from './layout.js';

/** No payload at all. */
export const NOTHING: Codec<void> = {
  name: 'empty payload',
  encode: () => new Uint8Array(0),
  decode: (bytes) => checkSize('empty payload', bytes, 0),
};

const WORD = struct('u64', { value: u64 });

/** 64 bits: features, an acknowledgement. */
export const U64: Codec<bigint> = {
  name: 'u64',
  encode: (value) => WORD.encode({ value }),
  decode: (bytes) => WORD.decode(bytes).value,
};

/** A number below 2^53 in 64 bits: a count, a size, a status. */
export const NUMBER: Codec<number> = {
  name: 'u64',
  encode: (value) => U64.encode(BigInt(value)),
  decode: (bytes) => toAddress(U64.decode(bytes)),
};

/** A reply that only says "done": a 64-bit zero. */
export const ACCEPTED: Codec<void> = {
  name: 'acknowledgement',
  encode: () => U64.encode(0n),
  decode(bytes) {
    const code = U64.decode(bytes);
    if (code !== 0n) throw new VhostError(errnoName(Number(code)), 'the back-end refused');
  },
};

/** A MAC address in the first 6 bytes of 64 bits. */
export const MAC_ADDRESS: Codec<Uint8Array> = {
  name: 'MAC address',
  encode: (mac) => concatenate(mac, new Uint8Array(2)),
  decode(bytes) {
    checkSize('MAC address', bytes, 8);
    return bytes.slice(0, 6);
  },
};

/** A ring's index, and a number whose meaning depends on the request. */
export const VRING_STATE = struct('vring state', { index: u32, num: u32 });
export type VringState = ReturnType<typeof VRING_STATE.decode>;

/** Which ring an eventfd is for, and whether there is one. */
export interface VringFd {
  /** 0 to 255. */
  readonly index: number;
  /** False: no eventfd comes with the message (bit 8). */
  readonly hasFd: boolean;
}

const NO_FD = 0x100n;

/** The word of SET_VRING_KICK, CALL and ERR: bits 0 to 7 the ring, bit 8 "no fd", the rest zero. */
export const VRING_FD: Codec<VringFd> = {
  name: 'vring fd word',
  encode: ({ index, hasFd }) => U64.encode(BigInt(index) | (hasFd ? 0n : NO_FD)),
  decode(bytes) {
    const word = U64.decode(bytes);
    if (word > 0x1ffn) {
      throw new VhostError('EINVAL', `vring fd word: unknown bits in 0x${word.toString(16)}`);
    }
    return { index: Number(word & 0xffn), hasFd: (word & NO_FD) === 0n };
  },
};

/**
 * Where a ring's three parts are, in the front-end's addresses. Note the order: descriptor table,
 * *used*, available. The log address is only meant when bit 0 of the flags is set.
 */
export const VRING_ADDRESS = struct('vring address', {
  index: u32,
  flags: u32,
  descriptorTable: address,
  usedRing: address,
  availableRing: address,
  logAddress: u64,
});
export type VringAddress = ReturnType<typeof VRING_ADDRESS.decode>;

/** One piece of guest memory. Its bytes begin `mmapOffset` bytes into the file that came along. */
export const MEMORY_REGION = struct('memory region', {
  guestAddress: address,
  size: address,
  userAddress: address,
  mmapOffset: address,
});
export type RegionDescription = ReturnType<typeof MEMORY_REGION.decode>;

/** A region on its own: 8 bytes of padding, then the region. */
export const SINGLE_REGION: Codec<RegionDescription> = {
  name: 'single region',
  encode: (region) => concatenate(new Uint8Array(8), MEMORY_REGION.encode(region)),
  decode(bytes) {
    checkSize('single region', bytes, 8 + MEMORY_REGION.size);
    return MEMORY_REGION.decode(bytes.subarray(8));
  },
};

/** The most regions in SET_MEM_TABLE: as many as a message has file descriptors. */
export const MAX_TABLE_REGIONS = 8;

const TABLE_HEAD = struct('memory table', { count: u32, _padding: u32 });

/** All regions at once. */
export const MEMORY_TABLE: Codec<readonly RegionDescription[]> = {
  name: 'memory table',
  encode: (regions) =>
    concatenate(
      TABLE_HEAD.encode({ count: regions.length, _padding: 0 }),
      ...regions.map((region) => MEMORY_REGION.encode(region)),
    ),
  decode(bytes) {
    const { count } = TABLE_HEAD.decode(bytes.subarray(0, TABLE_HEAD.size));
    if (count > MAX_TABLE_REGIONS) {
      throw new VhostError(
        'EINVAL',
        `memory table: ${count} regions, at most ${MAX_TABLE_REGIONS}`,
      );
    }
    checkSize('memory table', bytes, TABLE_HEAD.size + count * MEMORY_REGION.size);
    return Array.from({ length: count }, (_, index) => {
      const at = TABLE_HEAD.size + index * MEMORY_REGION.size;
      return MEMORY_REGION.decode(bytes.subarray(at, at + MEMORY_REGION.size));
    });
  },
};

/** The shared dirty log: its bytes begin `mmapOffset` bytes into the file that came along. */
export const LOG = struct('log', { mmapSize: address, mmapOffset: address });
export type LogDescription = ReturnType<typeof LOG.decode>;

/** What is or is not known of I/O virtual addresses; the kernel's structure. */
export const IOTLB = IOTLB_MESSAGE;

/** Where the memory is that notes what is in flight, and for which queues. */
export const INFLIGHT = struct('inflight', {
  mmapSize: address,
  mmapOffset: address,
  queueCount: u16,
  queueSize: u16,
});
export type InflightDescription = ReturnType<typeof INFLIGHT.decode>;

/** The reply to GET_INFLIGHT_FD: the memory, and its file. */
export interface InflightMemory extends InflightDescription {
  /** -1 while it is on its way beside the bytes. */
  readonly fd: number;
}

/** No memory: how GET_INFLIGHT_FD says no. */
export const NO_INFLIGHT = INFLIGHT.encode({
  mmapSize: 0,
  mmapOffset: 0,
  queueCount: 0,
  queueSize: 0,
});

export const INFLIGHT_MEMORY: Codec<InflightMemory> = {
  name: 'inflight',
  encode: (memory) => INFLIGHT.encode(memory),
  decode(bytes) {
    const description = INFLIGHT.decode(bytes);
    if (description.mmapSize === 0) {
      throw new VhostError('EIO', 'the back-end has no memory for what is in flight');
    }
    return { ...description, fd: -1 };
  },
};

/** A piece of device configuration space. */
export interface ConfigPayload {
  readonly offset: number;
  /** 0: the driver's write. 1: restoring a migrated device, every field may be written. */
  readonly flags: number;
  readonly bytes: Uint8Array;
}

/** The most bytes of configuration space in one message. */
export const MAX_CONFIG = 256;

const CONFIG_HEAD = struct('config', { offset: u32, size: u32, flags: u32 });

export const CONFIG: Codec<ConfigPayload> = {
  name: 'config',
  encode: ({ offset, flags, bytes }) =>
    concatenate(CONFIG_HEAD.encode({ offset, size: bytes.length, flags }), bytes),
  decode(bytes) {
    const { offset, size, flags } = CONFIG_HEAD.decode(bytes.subarray(0, CONFIG_HEAD.size));
    if (size > MAX_CONFIG) {
      throw new VhostError('EINVAL', `config: ${size} bytes, at most ${MAX_CONFIG}`);
    }
    checkSize('config', bytes, CONFIG_HEAD.size + size);
    return { offset, flags, bytes: bytes.slice(CONFIG_HEAD.size) };
  },
};

function concatenate(...parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
