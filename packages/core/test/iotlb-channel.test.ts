import t from 'tap';
import {
  BACKEND_FEATURE_IOTLB_MSG_V2,
  ERRNO,
  FEATURE,
  POLL_READABLE,
  U64,
  VHOST_REQUESTS,
  VhostNet,
} from '../src/index.js';
import { frame, makeNic } from './support/nic.js';
import { requester } from './support/requests.js';
import { GUEST_BASE, USER_BASE } from './support/ring-memory.js';

/** The offsets of `linux/vhost.h`, written out: the tests go by bytes, as a C program's would. */
interface Layout {
  readonly version: 1 | 2;
  readonly bytes: number;
  /** Where the inner message begins. */
  readonly at: number;
  readonly compat: boolean;
}
const V1: Layout = { version: 1, bytes: 72, at: 8, compat: false };
const V2: Layout = { version: 2, bytes: 72, at: 8, compat: false };
const I386_V1: Layout = { version: 1, bytes: 68, at: 4, compat: true };
const I386_V2: Layout = { version: 2, bytes: 72, at: 8, compat: true };
const LAYOUTS = [V1, V2, I386_V1, I386_V2];
const UPDATE = 2;
const INVALIDATE = 3;

interface Message {
  readonly iova?: number | bigint;
  readonly size?: number | bigint;
  readonly userAddress?: number;
  readonly access?: number;
  readonly type: number;
}

function encode(layout: Layout, message: Message): Uint8Array {
  const { iova = 0, size = 0, userAddress = 0, access = 0, type } = message;
  const bytes = new Uint8Array(layout.bytes);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, layout.version, true);
  view.setBigUint64(layout.at, BigInt(iova), true);
  view.setBigUint64(layout.at + 8, BigInt(size), true);
  view.setBigUint64(layout.at + 16, BigInt(userAddress), true);
  view.setUint8(layout.at + 24, access);
  view.setUint8(layout.at + 25, type);
  return bytes;
}

function decode(layout: Layout, bytes: Uint8Array) {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  return {
    version: view.getUint32(0, true),
    iova: Number(view.getBigUint64(layout.at, true)),
    size: Number(view.getBigUint64(layout.at + 8, true)),
    access: view.getUint8(layout.at + 24),
    type: view.getUint8(layout.at + 25),
  };
}

const write = (nic: VhostNet, { compat }: Layout, bytes: Uint8Array) =>
  compat ? nic.compatWrite(bytes) : nic.write(bytes);
const read = (nic: VhostNet, { compat }: Layout, bytes: Uint8Array) =>
  compat ? nic.compatRead(bytes) : nic.read(bytes);

const FEATURES = FEATURE.VERSION_1 | FEATURE.IOMMU_PLATFORM;
const TRANSMIT = 0x100_0000;
const MEBIBYTE = 0x10_0000;

t.test('A14 B10 misses are read and answered, by either version and either caller', async (t) => {
  for (const layout of LAYOUTS) {
    const name = JSON.stringify(layout);
    const { nic, ...rest } = makeNic({ iommu: true });
    rest.setUp(FEATURES);
    nic.setBackendFeatures(layout.version === 2 ? BACKEND_FEATURE_IOTLB_MSG_V2 : 0n);
    t.equal(nic.poll(), 0);
    let readable = 0;
    nic.readable$.subscribe(() => {
      readable += 1;
    });
    rest.run();
    t.equal(readable, 2, 'two queues');
    t.equal(nic.poll(), POLL_READABLE);
    const target = new Uint8Array(layout.bytes).fill(0xee);
    const seen: number[] = [];
    while (read(nic, layout, target) === layout.bytes) {
      const { iova, ...message } = decode(layout, target);
      t.match(message, { version: layout.version, size: 1, type: 1 }, name);
      seen.push(iova);
    }
    t.equal(read(nic, layout, target), -ERRNO.EAGAIN);
    t.equal(nic.poll(), 0);
    t.same(seen, [USER_BASE, USER_BASE + TRANSMIT]);
    let late = 0;
    nic.readable$.subscribe(() => {
      late += 1;
    });
    t.equal(late, 0, 'what was read is not to be read again');

    const update = { size: MEBIBYTE, access: 3, type: UPDATE };
    const rings = { ...update, iova: USER_BASE + TRANSMIT, userAddress: USER_BASE + TRANSMIT };
    t.equal(write(nic, layout, encode(layout, rings)), layout.bytes);
    rest.offerFrames([frame(1)], 12);
    rest.turns.settle();
    t.equal(nic.poll(), POLL_READABLE, 'a buffer is missing');
    const buffers = { ...update, iova: GUEST_BASE + TRANSMIT, userAddress: USER_BASE + TRANSMIT };
    t.equal(write(nic, layout, encode(layout, buffers)), layout.bytes);
    t.equal(nic.poll(), 0, 'no longer, read or not');
    rest.turns.settle();
    t.same(rest.socket.sent, [frame(1)], name);

    const everything = { iova: 0, size: 2n ** 64n - 1n, type: INVALIDATE };
    t.equal(write(nic, layout, encode(layout, everything)), layout.bytes);
    rest.offerFrames([frame(2)], 12);
    rest.turns.settle();
    t.equal(rest.transmit.usedIndex, 1, 'nothing is used any more');
    t.equal(nic.poll(), POLL_READABLE);
    await nic.close();
  }
});

t.test('A14 B10 wrong messages are answered as the kernel does', async (t) => {
  const nic = new VhostNet({ iommu: true });
  nic.setOwner();
  for (const layout of LAYOUTS) {
    const send = (message: Message, change = (bytes: Uint8Array) => bytes) =>
      write(nic, layout, change(encode(layout, message)));
    const good = { iova: 0x1000, size: 0x1000, userAddress: 0x5000, access: 3, type: UPDATE };
    nic.setFeatures(FEATURE.VERSION_1);
    t.equal(send(good), -ERRNO.EFAULT, 'there is no IOTLB');
    t.equal(send({ type: INVALIDATE }), -ERRNO.EFAULT);
    nic.setFeatures(FEATURES);
    t.equal(send(good), layout.bytes);
    const needed = layout.at + (layout.at === 4 ? 28 : 32);
    t.equal(
      send(good, (bytes) => bytes.subarray(0, needed)),
      layout.bytes,
      'padding may lack',
    );
    t.equal(
      send(good, (bytes) => bytes.subarray(0, needed - 1)),
      -ERRNO.EINVAL,
    );
    t.equal(
      send(good, (bytes) => bytes.subarray(0, 3)),
      -ERRNO.EINVAL,
    );
    t.equal(
      send(good, (bytes) => new Uint8Array([...bytes, 1, 2])),
      layout.bytes,
    );
    t.equal(
      send(good, (bytes) => bytes.fill(3, 0, 1)),
      -ERRNO.EINVAL,
      'version 3',
    );
    t.equal(send({ ...good, size: 0 }), -ERRNO.EINVAL, 'an update of nothing');
    t.equal(send({ ...good, type: 1 }), -ERRNO.EFAULT, 'a miss');
    t.equal(send({ ...good, type: 9 }), -ERRNO.EFAULT);
    t.equal(send({ ...good, iova: 2n ** 64n - 1n }), -ERRNO.EFAULT, 'it wraps');
    t.equal(read(nic, layout, new Uint8Array(layout.bytes - 5)), 0, 'no room');
    t.equal(read(nic, layout, new Uint8Array(72)), -ERRNO.EAGAIN);
  }
  await nic.close();
});

t.test('A14 B10 backend features choose the version, and are forgotten on reset', async (t) => {
  const nic = new VhostNet({ iommu: true });
  const { send, ask } = requester(nic);
  const { SET_BACKEND_FEATURES, GET_BACKEND_FEATURES, SET_OWNER, RESET_OWNER } = VHOST_REQUESTS;
  t.equal(SET_BACKEND_FEATURES.code, 0x4008af25);
  t.equal(GET_BACKEND_FEATURES.code, 0x8008af26);
  t.equal(await send(SET_BACKEND_FEATURES, U64, 2n), 'EPERM');
  await send(SET_OWNER);
  t.equal(await ask(GET_BACKEND_FEATURES, U64, 0n), 2n);
  t.equal(await send(SET_BACKEND_FEATURES, U64, 4n), 'EOPNOTSUPP');
  t.equal(await send(SET_BACKEND_FEATURES, U64, 2n), 'ok');
  t.equal(await send(RESET_OWNER), 'ok');
  const rest = makeNic({ iommu: true });
  rest.setUp(FEATURES);
  rest.nic.setBackendFeatures(2n);
  await rest.nic.resetOwner();
  rest.setUp(FEATURES);
  rest.run();
  const target = new Uint8Array(72);
  t.equal(rest.nic.read(target), 72);
  t.equal(target[0], 1);
  await rest.nic.close();
  await nic.close();
});
