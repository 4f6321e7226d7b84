import t from 'tap';
import {
  FLAG_NEED_REPLY,
  LOG,
  MESSAGES,
  NO_INFLIGHT,
  protocolFeatures,
  type RequestName,
  U64,
  VERSION,
  VHOST_USER_F_PROTOCOL_FEATURES,
  VRING_ADDRESS,
  VRING_FD,
  VRING_STATE,
} from '../src/index.js';
import {
  codes,
  event,
  FEATURES,
  makeBench,
  memoryRegion,
  negotiate,
  openFds,
} from './support/bench.js';

const NEED_REPLY = VERSION | FLAG_NEED_REPLY;

t.test('T01 protocol features are read and set before SET_FEATURES', async (t) => {
  const { frontend, device } = await makeBench(t);
  const offered = await frontend.request('GET_PROTOCOL_FEATURES', undefined);
  t.equal(
    offered,
    protocolFeatures(
      'MQ',
      'LOG_SHMFD',
      'REPLY_ACK',
      'BACKEND_REQ',
      'CONFIG',
      'MTU',
      'CROSS_ENDIAN',
      'CONFIG',
      'INFLIGHT_SHMFD',
      'RESET_DEVICE',
      'INBAND_NOTIFICATIONS',
      'CONFIGURE_MEM_SLOTS',
      'STATUS',
      'DEVICE_STATE',
      'GET_VRING_BASE_INFLIGHT',
      'GPA_ADDRESSES',
    ),
  );
  const bytes = U64.encode(offered);
  await frontend.exchange({ request: 16, flags: NEED_REPLY, payload: bytes, expectReply: true });
  t.equal(await frontend.request('GET_QUEUE_NUM', undefined), 1);
  await frontend.request('SET_FEATURES', FEATURES);
  await frontend.request('GET_FEATURES', undefined);
  t.equal(device.features, 1n << 32n, 'bit 30 is the protocol’s, not the device’s');
});

t.test('features: the device’s and bit 30, without the bit that means two things', async (t) => {
  const { frontend, device } = await makeBench(t);
  const offered = await frontend.request('GET_FEATURES', undefined);
  const anyLayout = 1n << 27n;
  t.equal(device.offeredFeatures & anyLayout, anyLayout);
  t.equal(offered, (device.offeredFeatures & ~anyLayout) | VHOST_USER_F_PROTOCOL_FEATURES);
  await negotiate(frontend);
  await t.rejects(frontend.request('SET_FEATURES', FEATURES | anyLayout), { code: 'EOPNOTSUPP' });
  await t.rejects(frontend.request('SET_FEATURES', FEATURES | 1n), { code: 'EOPNOTSUPP' });
  t.equal(device.features, 1n << 32n, 'a refused request changes nothing');
});

t.test('protocol features that were not offered are refused', async (t) => {
  const { frontend } = await makeBench(t);
  await negotiate(frontend);
  const shmem = protocolFeatures('SHMEM');
  await t.rejects(frontend.request('SET_PROTOCOL_FEATURES', shmem), { code: 'EOPNOTSUPP' });
  t.equal(await frontend.request('GET_QUEUE_NUM', undefined), 1, 'the old ones stand');
});

t.test('T08 NEED_REPLY gets exactly one answer, whatever becomes of the request', async (t) => {
  const { frontend, errors, trace } = await makeBench(t);
  await negotiate(frontend);
  const ask = async (request: number, payload: Uint8Array = new Uint8Array(0)) => {
    const before = trace.length;
    const answer = await frontend.exchange({
      request,
      flags: NEED_REPLY,
      payload,
      expectReply: true,
    });
    await frontend.request('GET_FEATURES', undefined);
    t.equal(trace.length - before, 4, `request ${request}: one answer`);
    return answer;
  };
  const refused = async (request: number, payload?: Uint8Array) =>
    U64.decode((await ask(request, payload)) ?? new Uint8Array(0)) !== 0n;

  t.strictSame(await ask(2, U64.encode(FEATURES)), U64.encode(0n), 'accepted: zero');
  t.ok(await refused(33), 'known to the specification, not to us');
  t.ok(await refused(200), 'unknown');
  t.ok(await refused(0), 'zero');
  t.ok(await refused(6, LOG.encode({ mmapSize: 0, mmapOffset: 0 })), 'SET_LOG_BASE not offered');
  t.ok(await refused(7), 'SET_LOG_FD not offered');
  t.ok(await refused(19, U64.encode(0n)), 'SEND_RARP not offered');
  t.ok(await refused(8, new Uint8Array(5)), 'payload too short');
  t.ok(await refused(8, new Uint8Array(9)), 'payload too long');
  t.ok(await refused(8, VRING_STATE.encode({ index: 0, num: 3 })), 'the device refuses');
  t.ok(await refused(3), 'owned already');
  t.equal((await ask(1))?.length, 8, 'a reply of its own is the only one');
  t.strictSame(codes(errors), [
    'request 33 EOPNOTSUPP',
    'request 200 EOPNOTSUPP',
    'request 0 EOPNOTSUPP',
    'SET_LOG_BASE EOPNOTSUPP',
    'SET_LOG_FD EOPNOTSUPP',
    'SEND_RARP EOPNOTSUPP',
    'SET_VRING_NUM EMSGSIZE',
    'SET_VRING_NUM EMSGSIZE',
    'SET_VRING_NUM EINVAL',
    'SET_OWNER EBUSY',
  ]);
});

t.test('without NEED_REPLY a refusal is reported and the connection goes on', async (t) => {
  const { frontend, errors } = await makeBench(t);
  await frontend.exchange({ request: 99, expectReply: false });
  await frontend.request('SET_VRING_NUM', { index: 0, num: 3 });
  await frontend.request('SEND_RARP', new Uint8Array(6));
  await frontend.request('GET_FEATURES', undefined);
  t.strictSame(codes(errors), [
    'request 99 EOPNOTSUPP',
    'SET_VRING_NUM EINVAL',
    'SEND_RARP EOPNOTSUPP',
  ]);
});

t.test('each request that needs a protocol feature is refused without it', async (t) => {
  const { frontend } = await makeBench(t);
  await negotiate(frontend, FEATURES, protocolFeatures('REPLY_ACK'));
  const gated = (Object.keys(MESSAGES) as RequestName[]).filter((name) => MESSAGES[name].gate);
  t.strictSame(gated, [
    'SET_LOG_BASE',
    'SET_LOG_FD',
    'GET_QUEUE_NUM',
    'SEND_RARP',
    'NET_SET_MTU',
    'SET_BACKEND_REQ_FD',
    'SET_VRING_ENDIAN',
    'GET_CONFIG',
    'SET_CONFIG',
    'CREATE_CRYPTO_SESSION',
    'CLOSE_CRYPTO_SESSION',
    'POSTCOPY_ADVISE',
    'POSTCOPY_LISTEN',
    'POSTCOPY_END',
    'GET_INFLIGHT_FD',
    'SET_INFLIGHT_FD',
    'RESET_DEVICE',
    'VRING_KICK',
    'GET_MAX_MEM_SLOTS',
    'ADD_MEM_REG',
    'REM_MEM_REG',
    'SET_STATUS',
    'GET_STATUS',
    'SET_DEVICE_STATE_FD',
    'CHECK_DEVICE_STATE',
    'GET_SHARED_OBJECT',
    'GET_SHMEM_CONFIG',
  ]);
  for (const name of gated) {
    const { id } = MESSAGES[name];
    const answer = await frontend.exchange({ request: id, flags: NEED_REPLY, expectReply: true });
    if (name === 'GET_CONFIG') t.equal(answer?.length, 0, `${name}: an empty reply`);
    else if (name === 'GET_INFLIGHT_FD') t.strictSame(answer, NO_INFLIGHT, `${name}: no memory`);
    else t.not(U64.decode(answer ?? new Uint8Array(0)), 0n, name);
  }
});

t.test('a request whose reply cannot be given ends the connection rather than hang', async (t) => {
  const { frontend, errors, server } = await makeBench(t);
  await t.rejects(frontend.request('GET_VRING_BASE', { index: 9, num: 0 }), { code: 'ECONNRESET' });
  t.strictSame(codes(errors), ['GET_VRING_BASE ENOBUFS']);
  await server.closed;
});

t.test('T07 a ring index out of range is refused in every indexed message', async (t) => {
  const { frontend, device } = await makeBench(t);
  await negotiate(frontend);
  const kick = event(t);
  const index = 2;
  const addresses = { descriptorTable: 0, usedRing: 0, availableRing: 0, logAddress: 0n, flags: 0 };
  const cases: { request: number; payload: Uint8Array; fds?: number[] }[] = [
    { request: 8, payload: VRING_STATE.encode({ index, num: 256 }) },
    { request: 9, payload: VRING_ADDRESS.encode({ index, ...addresses }) },
    { request: 10, payload: VRING_STATE.encode({ index, num: 0 }) },
    { request: 11, payload: VRING_STATE.encode({ index, num: 0 }) },
    { request: 18, payload: VRING_STATE.encode({ index, num: 1 }) },
  ];
  for (const request of [12, 13, 14]) {
    cases.push({ request, payload: VRING_FD.encode({ index, hasFd: true }), fds: [kick.fd] });
    cases.push({ request, payload: VRING_FD.encode({ index: 255, hasFd: false }) });
  }
  cases.push({ request: 8, payload: VRING_STATE.encode({ index: 0xffff_ffff, num: 256 }) });
  for (const { request, payload, fds = [] } of cases) {
    const message = { request, flags: NEED_REPLY, payload, fds, expectReply: true };
    const answer = (await frontend.exchange(message)) ?? new Uint8Array(0);
    t.equal(U64.decode(answer), 105n, `request ${request}: ENOBUFS`);
  }
  t.equal(device.queues.length, 2);
});

t.test('SET_OWNER is counted, and a front-end that never sends it is served', async (t) => {
  const { frontend, device, errors } = await makeBench(t);
  t.equal(device.owned, false, 'nobody has come yet');
  await frontend.request('GET_FEATURES', undefined);
  t.ok(device.owned);
  await frontend.request('SET_OWNER', undefined);
  await frontend.request('SET_OWNER', undefined);
  await frontend.request('RESET_OWNER', undefined);
  await frontend.request('SET_OWNER', undefined);
  await frontend.request('GET_FEATURES', undefined);
  t.strictSame(codes(errors), ['SET_OWNER EBUSY']);
  t.equal(device.resets, 0, 'RESET_OWNER discards nothing');
});

t.test('configuration space: reads, writes, and an empty reply for what cannot be', async (t) => {
  const { frontend, device } = await makeBench(t);
  await negotiate(frontend);
  const bytes = Uint8Array.of(2, 0, 0, 0, 0, 9);
  await frontend.request('SET_CONFIG', { offset: 0, flags: 0, bytes });
  const read = { offset: 4, flags: 0, bytes: new Uint8Array(3) };
  t.strictSame(await frontend.request('GET_CONFIG', read), {
    offset: 4,
    flags: 0,
    bytes: Uint8Array.of(0, 9, 0),
  });
  await t.rejects(frontend.request('GET_CONFIG', { ...read, offset: 10 }), { code: 'EIO' });
  const readOnly = { offset: 8, flags: 0, bytes: Uint8Array.of(7) };
  await t.rejects(frontend.request('SET_CONFIG', readOnly), { code: 'EPERM' });
  await frontend.request('SET_CONFIG', { ...readOnly, flags: 1 });
  t.equal(device.config.bytes[8], 7, 'a restored device takes every field');
  await t.rejects(frontend.request('SET_CONFIG', { ...readOnly, flags: 2 }), { code: 'EINVAL' });
});

t.test('T60 the MTU that a front-end sets is checked, and status', async (t) => {
  const { frontend, device } = await makeBench(t);
  await negotiate(frontend);
  await frontend.request('NET_SET_MTU', 1500);
  t.equal(device.mtu, 1500);
  await t.rejects(frontend.request('NET_SET_MTU', 60), { code: 'EINVAL' });
  t.equal(await frontend.request('GET_STATUS', undefined), 0);
  await frontend.request('SET_STATUS', 15);
  t.equal(await frontend.request('GET_STATUS', undefined), 15);
  await t.rejects(frontend.request('SET_STATUS', 256), { code: 'EINVAL' });
  await frontend.request('SET_STATUS', 0);
  t.equal(await frontend.request('GET_STATUS', undefined), 0);
});

t.test('file descriptors: a wrong number is refused and every one is closed', async (t) => {
  const { frontend, errors } = await makeBench(t);
  await negotiate(frontend);
  const { fd } = memoryRegion(t);
  const before = openFds();
  const none = { request: 1, payload: new Uint8Array(0), fds: [fd, fd, fd] };
  await t.rejects(frontend.exchange({ ...none, expectReply: true }), { code: 'ECONNRESET' });
  t.equal(openFds(), before - 2, 'only the connection’s own two are gone');
  t.strictSame(codes(errors), ['GET_FEATURES EINVAL']);
});

t.test('an eventfd is an eventfd', async (t) => {
  const { frontend, device } = await makeBench(t);
  await negotiate(frontend);
  const { fd } = memoryRegion(t);
  const ring = { index: 0, hasFd: true };
  await t.rejects(frontend.request('SET_VRING_KICK', ring, [fd]), { code: 'EINVAL' });
  await t.rejects(frontend.request('SET_VRING_CALL', ring, []), { code: 'EINVAL' });
  await t.rejects(frontend.request('SET_VRING_CALL', { index: 0, hasFd: false }, [fd]), {
    code: 'EINVAL',
  });
  t.equal(device.queue(0).kick, undefined);
});
