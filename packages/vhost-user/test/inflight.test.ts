import { FEATURE } from '@rxvhost/core';
import { closeFd, createMemfd, fileStatus, mapShared } from '@rxvhost/sys';
import t, { type Test } from 'tap';
import {
  InflightFile,
  inflightRegionBytes,
  protocolFeatures,
  type VhostUserFrontend,
} from '../src/index.js';
import {
  benchFor,
  codes,
  event,
  FEATURES,
  makeBench,
  memfdMappings,
  memoryRegion,
  negotiate,
  openFds,
  ringAddresses,
  until,
} from './support/bench.js';
import { RecordingDevice } from './support/recording-device.js';
import { exchange, pair } from './support/served-pair.js';

const PROTOCOL = protocolFeatures('REPLY_ACK', 'INFLIGHT_SHMFD', 'RESET_DEVICE');
const wanted = { mmapSize: 0, mmapOffset: 0, queueCount: 2, queueSize: 256 };
const SPLIT = 64 * Math.ceil((16 + 16 * 256) / 64);
const PACKED = 64 * Math.ceil((32 + 32 * 256) / 64);

async function getInflight(t: Test, frontend: VhostUserFrontend, asked = wanted) {
  const memory = await frontend.request('GET_INFLIGHT_FD', asked);
  t.teardown(() => closeFd(memory.fd));
  return memory;
}

t.test(
  'T12 inflight memory before rings, sizes or features: a region for each queue',
  async (t) => {
    const { frontend, device } = await makeBench(t);
    await frontend.request('SET_PROTOCOL_FEATURES', PROTOCOL);
    const { fd, ...memory } = await getInflight(t, frontend);
    t.strictSame(memory, { ...wanted, mmapSize: 2 * SPLIT });
    t.equal(fileStatus(fd).size, 2 * SPLIT);
    await frontend.request('SET_INFLIGHT_FD', memory, [fd]);
    await frontend.request('GET_FEATURES', undefined);
    t.strictSame(
      device.queues.map(({ inflight }) => inflight?.length),
      [SPLIT, SPLIT],
    );
    device.queue(1).inflight?.fill(7, 0, 1);
    const mapping = mapShared(fd, 0, memory.mmapSize);
    t.teardown(() => mapping.release());
    t.equal(
      new Uint8Array(mapping.windows[0] ?? new ArrayBuffer(0))[SPLIT],
      7,
      'one after the other',
    );
  },
);

t.test('T12 regions follow the kind of ring, in whatever order both are told', async (t) => {
  const { frontend, device } = await makeBench(t);
  Object.assign(device, {
    offeredFeatures: device.offeredFeatures | FEATURE.RING_PACKED,
  });
  await frontend.request('SET_PROTOCOL_FEATURES', PROTOCOL);
  const split = await getInflight(t, frontend);
  await frontend.request('SET_FEATURES', FEATURES | FEATURE.RING_PACKED);
  const packed = await getInflight(t, frontend);
  t.equal(packed.mmapSize, 2 * PACKED);
  await frontend.request('SET_FEATURES', FEATURES);
  await frontend.request('SET_INFLIGHT_FD', packed, [packed.fd]);
  await frontend.request('GET_FEATURES', undefined);
  const lengths = () => device.queues.map(({ inflight }) => inflight?.length);
  t.strictSame(lengths(), [SPLIT, SPLIT]);
  await frontend.request('SET_FEATURES', FEATURES | FEATURE.RING_PACKED);
  await frontend.request('GET_FEATURES', undefined);
  t.strictSame(lengths(), [PACKED, PACKED]);
  await frontend.request('SET_FEATURES', FEATURES);
  await frontend.request('SET_INFLIGHT_FD', split, [split.fd]);
  await frontend.request('SET_FEATURES', FEATURES | FEATURE.RING_PACKED);
  await frontend.request('GET_FEATURES', undefined);
  t.strictSame(lengths(), [PACKED, undefined], 'no region where there is no room for one');
});

t.test('T12 inflight numbers that do not fit are refused, and the old memory stays', async (t) => {
  const { frontend, device, errors } = await makeBench(t);
  await negotiate(frontend, FEATURES, PROTOCOL);
  for (const asked of [
    { ...wanted, queueCount: 0 },
    { ...wanted, queueCount: 3 },
    { ...wanted, queueCount: 0xffff, queueSize: 0xffff },
    { ...wanted, queueSize: 0 },
    { ...wanted, queueSize: 1025 },
  ]) {
    await t.rejects(frontend.request('GET_INFLIGHT_FD', asked), { code: 'EIO' });
  }
  t.strictSame(new Set(codes(errors)), new Set(['GET_INFLIGHT_FD EINVAL']));

  const memory = await getInflight(t, frontend);
  await frontend.request('SET_INFLIGHT_FD', memory, [memory.fd]);
  const before = device.queue(0).inflight;
  const fds = openFds();
  const eventFd = event(t);
  const cases: [object, number][] = [
    [{ queueCount: 3 }, memory.fd],
    [{ queueSize: 0 }, memory.fd],
    [{ queueSize: 1024 }, memory.fd],
    [{ queueCount: 2, queueSize: 0xffff }, memory.fd],
    [{ mmapSize: memory.mmapSize - 1 }, memory.fd],
    [{ mmapSize: memory.mmapSize + 1 }, memory.fd],
    [{ mmapOffset: 64 }, memory.fd],
    [{ mmapOffset: 4 }, memory.fd],
    [{ mmapOffset: 2 ** 53 - 64 }, memory.fd],
    [{ mmapSize: 0 }, memory.fd],
    [{}, eventFd.fd],
  ];
  for (const [change, fd] of cases) {
    const description = { ...memory, ...change };
    await t.rejects(frontend.request('SET_INFLIGHT_FD', description, [fd]), { code: 'EINVAL' });
  }
  await t.rejects(frontend.request('SET_INFLIGHT_FD', memory, []), { code: 'EINVAL' });
  t.equal(device.queue(0).inflight, before);
  t.equal(before?.length, SPLIT);
  t.equal(openFds(), fds + 1, 'only the test’s own eventfd came');
});

t.test('inflight memory may begin anywhere in its file', async (t) => {
  const { frontend, device } = await makeBench(t);
  await negotiate(frontend, FEATURES, PROTOCOL);
  const fd = createMemfd('vhost-user-test', 5000 + 2 * SPLIT);
  t.teardown(() => closeFd(fd));
  const description = { ...wanted, mmapSize: 2 * SPLIT, mmapOffset: 5000 };
  await frontend.request('SET_INFLIGHT_FD', description, [fd]);
  device.queue(0).inflight?.fill(9, 0, 1);
  const mapping = mapShared(fd, 0, 8192);
  t.teardown(() => mapping.release());
  t.equal(new Uint8Array(mapping.windows[0] ?? new ArrayBuffer(0))[5000], 9);
});

t.test(
  'inflight memory is not exchanged under a running ring, and a reset forgets it',
  async (t) => {
    const { frontend, device } = await makeBench(t);
    await negotiate(frontend, FEATURES, PROTOCOL);
    await frontend.shareMemory([memoryRegion(t)]);
    const memory = await getInflight(t, frontend);
    await frontend.request('SET_INFLIGHT_FD', memory, [memory.fd]);
    const setup = { size: 256, addresses: ringAddresses(0), kick: event(t), call: event(t) };
    await frontend.startQueue(0, setup);
    await t.rejects(frontend.request('SET_INFLIGHT_FD', memory, [memory.fd]), { code: 'EBUSY' });
    await frontend.request('SET_FEATURES', FEATURES);
    t.equal(device.queue(0).inflight?.length, SPLIT);
    await frontend.request('RESET_DEVICE', undefined);
    t.strictSame(
      device.queues.map(({ inflight }) => inflight),
      [undefined, undefined],
    );
    await frontend.request('SET_INFLIGHT_FD', memory, [memory.fd]);
    t.equal(device.queue(1).inflight?.length, SPLIT);
  },
);

t.test('a connection leaves no inflight memory behind', async (t) => {
  const before = [openFds(), memfdMappings()];
  await t.test('one connection', async (t) => {
    const { frontend, device, server } = await makeBench(t);
    await negotiate(frontend, FEATURES, PROTOCOL);
    for (let round = 0; round < 3; round += 1) {
      const memory = await getInflight(t, frontend);
      await frontend.request('SET_INFLIGHT_FD', memory, [memory.fd]);
    }
    const region = device.queue(0).inflight;
    t.equal(region?.length, SPLIT);
    frontend.close();
    await server.closed;
    t.equal(region?.length, 0, 'a view kept too long is empty');
  });
  t.strictSame([openFds(), memfdMappings()], before);
});

t.test('a ring that is stopped leaves nothing in flight, whether or not it might', async (t) => {
  const { frontend } = await makeBench(t);
  const might = protocolFeatures('GET_VRING_BASE_INFLIGHT');
  await negotiate(frontend, FEATURES, PROTOCOL | might);
  await t.rejects(
    frontend.request('SET_PROTOCOL_FEATURES', protocolFeatures('REPLY_ACK') | might),
    { code: 'EINVAL' },
    'there must be memory for it',
  );
  t.strictSame(await frontend.request('GET_VRING_BASE', { index: 0, num: 0 }), {
    index: 0,
    num: 0,
  });
});

t.test('T12 a NIC notes what it has in hands, and the next one goes on from there', async (t) => {
  const { left, right } = await pair(t);
  await left.vm.boot(left.path);
  const { vm } = right;
  const size = vm.nic.ring(0).queue.size;
  const first = await vm.connect(right.path);
  const memory = await getInflight(t, first, { ...wanted, queueSize: size });
  const mapping = mapShared(memory.fd, 0, memory.mmapSize);
  t.teardown(() => mapping.release());
  const view = new DataView(mapping.windows[0] ?? new ArrayBuffer(0));
  const transmits = inflightRegionBytes(size, false);
  for (let round = 0; round < 5; round += 1) {
    if (round > 0) await vm.connect(right.path);
    await vm.frontend?.request('SET_INFLIGHT_FD', memory, [memory.fd]);
    await vm.startRings();
    if (round === 0) vm.nic.start();
    await exchange(t, left.vm, vm, 30);
    t.equal(view.getUint16(transmits + 8, true), 1, 'version 1');
    t.equal(view.getUint16(transmits + 10, true), size, 'as many descriptors as the ring has');
    const used = vm.usedIndex(vm.nic.ring(1));
    await until(t, 'what was sent is noted as done', () => {
      return view.getUint16(transmits + 14, true) === used;
    });
    let inHands = 0;
    for (let entry = 0; entry < size; entry += 1) {
      inHands += view.getUint8(transmits + 16 + 16 * entry);
    }
    t.equal(inHands, 0);
    vm.disconnect();
  }
  t.strictSame(left.errors.concat(right.errors), []);
});

t.test('T12 the front-end keeps the file as long as back-ends keep the note', async (t) => {
  const file = new InflightFile();
  const hand = async (protocol: bigint) => {
    const { frontend, device } = await makeBench(t);
    const agreed = await frontend.handshake({ features: FEATURES, protocolFeatures: protocol });
    await file.handTo(frontend, agreed, 2, 256);
    return device;
  };
  const first = await hand(PROTOCOL);
  t.ok(file.made);
  first.queue(1).inflight?.fill(7, 0, 1);
  const second = await hand(PROTOCOL);
  t.equal(second.queue(1).inflight?.at(0), 7, 'the next one finds what the first has noted');
  await hand(protocolFeatures('REPLY_ACK'));
  t.notOk(file.made, 'one that notes nothing makes the note wrong');
  const last = await hand(PROTOCOL);
  t.equal(last.queue(1).inflight?.at(0), 0);
  const fds = openFds();
  file.close();
  file.close();
  t.equal(openFds(), fds - 1);
});

t.test('a device that keeps no note does not offer it', async (t) => {
  const device = new RecordingDevice();
  Object.assign(device, { setInflight: undefined });
  const { frontend } = await benchFor(t, device);
  const offered = await frontend.request('GET_PROTOCOL_FEATURES', undefined);
  t.equal(offered & protocolFeatures('INFLIGHT_SHMFD'), 0n);
});

t.test('the length of a region is that of the specification', async (t) => {
  t.equal(inflightRegionBytes(1, false), 64);
  t.equal(inflightRegionBytes(3, false), 64);
  t.equal(inflightRegionBytes(4, false), 128);
  t.equal(inflightRegionBytes(1, true), 64);
  t.equal(inflightRegionBytes(2, true), 128);
  t.equal(inflightRegionBytes(32768, true), 32 + 32 * 32768 + 32);
});
