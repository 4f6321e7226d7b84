import { endianness } from 'node:os';
import { VhostError } from '@rxvhost/core';
import t from 'tap';
import {
  CONFIG,
  DEVICE_STATE,
  HEADER,
  INFLIGHT,
  IOTLB,
  LOG,
  MAX_FDS,
  MEMORY_REGION,
  MEMORY_TABLE,
  MESSAGES,
  NUMBER,
  PROTOCOL_FEATURE_BIT,
  protocolFeatureNames,
  protocolFeatures,
  requestById,
  SINGLE_REGION,
  struct,
  U64,
  u8,
  u16,
  u32,
  u64,
  VRING_ADDRESS,
  VRING_FD,
  VRING_STATE,
} from '../src/index.js';

const littleEndian = endianness() === 'LE';

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

const region = { guestAddress: 0x1000, size: 0x2000, userAddress: 0x7000, mmapOffset: 0x3000 };

t.test('T14 the bit numbers of the protocol features are those of the specification', async (t) => {
  t.strictSame(PROTOCOL_FEATURE_BIT, {
    MQ: 0,
    LOG_SHMFD: 1,
    RARP: 2,
    REPLY_ACK: 3,
    MTU: 4,
    BACKEND_REQ: 5,
    CROSS_ENDIAN: 6,
    CRYPTO_SESSION: 7,
    PAGEFAULT: 8,
    CONFIG: 9,
    BACKEND_SEND_FD: 10,
    HOST_NOTIFIER: 11,
    INFLIGHT_SHMFD: 12,
    RESET_DEVICE: 13,
    INBAND_NOTIFICATIONS: 14,
    CONFIGURE_MEM_SLOTS: 15,
    STATUS: 16,
    XEN_MMAP: 17,
    SHARED_OBJECT: 18,
    DEVICE_STATE: 19,
    GET_VRING_BASE_INFLIGHT: 20,
    GPA_ADDRESSES: 21,
    SHMEM: 22,
  });
  t.equal(protocolFeatures('MQ', 'REPLY_ACK', 'SHMEM'), 0x400009n);
  t.strictSame(protocolFeatureNames(1n | (1n << 22n) | (1n << 40n)), ['MQ', 'SHMEM', 'bit 40']);
});

t.test('T14 requests have the numbers of the specification', async (t) => {
  const numbers = Object.fromEntries(Object.entries(MESSAGES).map(([name, { id }]) => [name, id]));
  t.strictSame(numbers, {
    GET_FEATURES: 1,
    SET_FEATURES: 2,
    SET_OWNER: 3,
    RESET_OWNER: 4,
    SET_MEM_TABLE: 5,
    SET_LOG_BASE: 6,
    SET_LOG_FD: 7,
    SET_VRING_NUM: 8,
    SET_VRING_ADDR: 9,
    SET_VRING_BASE: 10,
    GET_VRING_BASE: 11,
    SET_VRING_KICK: 12,
    SET_VRING_CALL: 13,
    SET_VRING_ERR: 14,
    GET_PROTOCOL_FEATURES: 15,
    SET_PROTOCOL_FEATURES: 16,
    GET_QUEUE_NUM: 17,
    SET_VRING_ENABLE: 18,
    SEND_RARP: 19,
    NET_SET_MTU: 20,
    SET_BACKEND_REQ_FD: 21,
    IOTLB_MSG: 22,
    SET_VRING_ENDIAN: 23,
    GET_CONFIG: 24,
    SET_CONFIG: 25,
    CREATE_CRYPTO_SESSION: 26,
    CLOSE_CRYPTO_SESSION: 27,
    POSTCOPY_ADVISE: 28,
    POSTCOPY_LISTEN: 29,
    POSTCOPY_END: 30,
    GET_INFLIGHT_FD: 31,
    SET_INFLIGHT_FD: 32,
    RESET_DEVICE: 34,
    VRING_KICK: 35,
    GET_MAX_MEM_SLOTS: 36,
    ADD_MEM_REG: 37,
    REM_MEM_REG: 38,
    SET_STATUS: 39,
    GET_STATUS: 40,
    SET_DEVICE_STATE_FD: 42,
    CHECK_DEVICE_STATE: 43,
    GET_SHARED_OBJECT: 41,
    GET_SHMEM_CONFIG: 44,
  });
  t.equal(requestById(8)?.name, 'SET_VRING_NUM');
  t.equal(requestById(0), undefined);
  t.equal(requestById(33), undefined);
});

t.test('T15 structures have the sizes and offsets of the C ones', async (t) => {
  const structures = [
    HEADER,
    VRING_STATE,
    VRING_ADDRESS,
    MEMORY_REGION,
    LOG,
    IOTLB,
    INFLIGHT,
    DEVICE_STATE,
  ];
  const sizes = structures.map(({ size }) => size);
  t.strictSame(sizes, [12, 8, 40, 32, 16, 32, 24, 8]);
  t.strictSame(INFLIGHT.offsets, { mmapSize: 0, mmapOffset: 8, queueCount: 16, queueSize: 18 });
  t.strictSame(HEADER.offsets, { request: 0, flags: 4, size: 8 });
  t.strictSame(VRING_STATE.offsets, { index: 0, num: 4 });
  t.strictSame(VRING_ADDRESS.offsets, {
    index: 0,
    flags: 4,
    descriptorTable: 8,
    usedRing: 16,
    availableRing: 24,
    logAddress: 32,
  });
  t.strictSame(MEMORY_REGION.offsets, {
    guestAddress: 0,
    size: 8,
    userAddress: 16,
    mmapOffset: 24,
  });
  t.strictSame(LOG.offsets, { mmapSize: 0, mmapOffset: 8 });
  t.equal(SINGLE_REGION.encode(region).length, 40);
  t.equal(MEMORY_TABLE.encode(Array(8).fill(region)).length, 8 + 8 * 32);
  t.equal(CONFIG.encode({ offset: 0, flags: 0, bytes: new Uint8Array(256) }).length, 12 + 256);
  t.equal(MAX_FDS, 8);
});

t.test('T15 fields are aligned as a C compiler does, tail padding included', async (t) => {
  const iotlb = struct('iotlb', { iova: u64, size: u64, uaddr: u64, perm: u8, type: u8 });
  t.equal(iotlb.size, 32);
  t.equal(iotlb.offsets.type, 25);
  const inflight = struct('inflight', { size: u64, offset: u64, queues: u16, queueSize: u16 });
  t.equal(inflight.size, 24);
  t.equal(struct('mixed', { a: u8, b: u32, c: u16 }).offsets.b, 4);
  t.equal(struct('mixed', { a: u8, b: u32, c: u16 }).size, 12);
});

t.test('T15 golden bytes', { skip: littleEndian ? false : 'big-endian machine' }, async (t) => {
  t.equal(hex(HEADER.encode({ request: 5, flags: 9, size: 0x102 })), '050000000900000002010000');
  t.equal(hex(VRING_STATE.encode({ index: 1, num: 256 })), '0100000000010000');
  t.equal(hex(VRING_FD.encode({ index: 3, hasFd: true })), '0300000000000000');
  t.equal(hex(VRING_FD.encode({ index: 3, hasFd: false })), '0301000000000000');
  t.equal(
    hex(SINGLE_REGION.encode(region)),
    '0000000000000000' +
      '0010000000000000' +
      '0020000000000000' +
      '0070000000000000' +
      '0030000000000000',
  );
  t.equal(
    hex(CONFIG.encode({ offset: 2, flags: 1, bytes: Uint8Array.of(0xaa, 0xbb) })),
    '020000000200000001000000aabb',
  );
  t.equal(hex(MEMORY_TABLE.encode([region])).slice(0, 16), '0100000000000000');
});

t.test('what is encoded is decoded again', async (t) => {
  const table = [region, { ...region, guestAddress: 0x10000 }];
  t.strictSame(MEMORY_TABLE.decode(MEMORY_TABLE.encode(table)), table);
  t.strictSame(MEMORY_TABLE.decode(MEMORY_TABLE.encode([])), []);
  t.strictSame(SINGLE_REGION.decode(SINGLE_REGION.encode(region)), region);
  const config = { offset: 4, flags: 0, bytes: Uint8Array.of(1, 2, 3) };
  t.strictSame(CONFIG.decode(CONFIG.encode(config)), config);
  const ring = { index: 255, hasFd: true };
  t.strictSame(VRING_FD.decode(VRING_FD.encode(ring)), ring);
  t.equal(U64.decode(U64.encode(0xffff_ffff_ffff_ffffn)), 0xffff_ffff_ffff_ffffn);
});

t.test('T22 an address or size of 2^53 or more fails the message', async (t) => {
  const bytes = MEMORY_REGION.encode(region);
  const view = new DataView(bytes.buffer);
  for (const field of Object.values(MEMORY_REGION.offsets)) {
    const before = view.getBigUint64(field, littleEndian);
    view.setBigUint64(field, 2n ** 53n, littleEndian);
    t.throws(() => MEMORY_REGION.decode(bytes), { code: 'EOVERFLOW' });
    view.setBigUint64(field, 2n ** 53n - 1n, littleEndian);
    t.doesNotThrow(() => MEMORY_REGION.decode(bytes));
    view.setBigUint64(field, before, littleEndian);
  }
  t.throws(() => NUMBER.decode(U64.encode(2n ** 64n - 1n)), VhostError);
});

t.test('a payload of the wrong size or with a bad count is refused', async (t) => {
  const wrongSize = { name: 'VhostError', code: 'EMSGSIZE' };
  t.throws(() => VRING_STATE.decode(new Uint8Array(7)), wrongSize);
  t.throws(() => VRING_STATE.decode(new Uint8Array(9)), wrongSize);
  t.throws(() => SINGLE_REGION.decode(new Uint8Array(32)), wrongSize);
  t.throws(() => MEMORY_TABLE.decode(new Uint8Array(4)), wrongSize);
  t.throws(() => MEMORY_TABLE.decode(MEMORY_TABLE.encode([region]).subarray(0, 39)), wrongSize);
  const config = CONFIG.encode({ offset: 0, flags: 0, bytes: new Uint8Array(8) });
  t.throws(() => CONFIG.decode(config.subarray(0, 19)), wrongSize);
  t.throws(() => CONFIG.decode(config.subarray(0, 11)), wrongSize);
  t.throws(() => MESSAGES.GET_FEATURES.payload.decode(Uint8Array.of(1)), wrongSize);
  t.throws(() => MEMORY_TABLE.decode(MEMORY_TABLE.encode(Array(9).fill(region))), {
    code: 'EINVAL',
  });
  const long = CONFIG.encode({ offset: 0, flags: 0, bytes: new Uint8Array(257) });
  t.throws(() => CONFIG.decode(long), { code: 'EINVAL' });
  t.throws(() => VRING_FD.decode(U64.encode(0x200n)), { code: 'EINVAL' });
});
