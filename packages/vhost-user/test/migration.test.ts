import { type DirtyLog, FEATURE, NullSocket, type PacketBatch, VhostNet } from '@rxvhost/core';
import { closeFd, createMemfd, mapShared } from '@rxvhost/sys';
import { Subject } from 'rxjs';
import t, { type Test } from 'tap';
import { protocolFeatures, VHOST_F_LOG_ALL, VHOST_USER_F_PROTOCOL_FEATURES } from '../src/index.js';
import {
  benchFor,
  event,
  FEATURES,
  GUEST_BASE,
  MEMORY_SIZE,
  makeBench,
  memfdMappings,
  memoryRegion,
  negotiate,
  openFds,
  ringAddresses,
  share,
  until,
} from './support/bench.js';

const MIGRATION = protocolFeatures('REPLY_ACK', 'LOG_SHMFD', 'RARP');
/** Bytes of log that the memory of these tests needs. */
const LOG_BYTES = (GUEST_BASE + MEMORY_SIZE) / 4096 / 8;
const VERSION_1 = 1n << 32n;
const LOGGED = VERSION_1 | VHOST_F_LOG_ALL | VHOST_USER_F_PROTOCOL_FEATURES;

/** A file for a log, and its bytes as this side sees them. */
function logFile(t: Test, bytes = 8192) {
  const fd = createMemfd('log', bytes);
  const mapping = mapShared(fd, 0, bytes);
  t.teardown(() => {
    mapping.release();
    closeFd(fd);
  });
  return { fd, bits: new Uint8Array(mapping.windows[0] as ArrayBuffer) };
}

t.test('T08 SET_LOG_BASE maps the log and always answers', async (t) => {
  const { frontend, device, errors } = await makeBench(t);
  await negotiate(frontend, FEATURES, MIGRATION);
  const { fd, bits } = logFile(t);
  await frontend.request('SET_LOG_BASE', { mmapSize: 64, mmapOffset: 5000 }, [fd]);
  const first = device.log as DirtyLog;
  first.mark(9 * 4096, 1);
  t.equal(bits[5001], 2, 'T27 the log begins anywhere in its file');
  first.mark(64 * 8 * 4096, 1);
  t.equal(bits[5064], 0, 'and ends where it was said to');
  const fds = openFds();
  const mappings = memfdMappings();
  const refused: [string, number, number][] = [
    ['no bytes', 0, 0],
    ['past the end of its file', 8192, 1],
    ['a size that passes 2^53', Number.MAX_SAFE_INTEGER, 4096],
  ];
  for (const [what, mmapSize, mmapOffset] of refused) {
    const request = frontend.request('SET_LOG_BASE', { mmapSize, mmapOffset }, [fd]);
    await t.rejects(request, { code: 'EINVAL' }, what);
  }
  const { fd: notAFile } = event(t);
  const request = frontend.request('SET_LOG_BASE', { mmapSize: 1, mmapOffset: 0 }, [notAFile]);
  await t.rejects(request, { code: 'EINVAL' }, 'an eventfd is no log');
  t.equal(device.log, first, 'the log before stands');
  t.equal(errors.length, 4);
  t.same([openFds(), memfdMappings()], [fds + 1, mappings], 'nothing stays but our eventfd');

  const port = event(t);
  await frontend.request('SET_LOG_FD', undefined, [port.fd]);
  device.logEvent?.signal();
  t.equal(port.read(), 1);
  await t.rejects(frontend.request('SET_LOG_FD', undefined, [fd]), { code: 'EINVAL' });
});

t.test('A4 LOG_ALL waits for the log that LOG_SHMFD promises, and needs it else', async (t) => {
  const nic = new VhostNet({ backends: new NullSocket() });
  const { frontend } = await benchFor(t, nic);
  await negotiate(frontend, FEATURES, protocolFeatures('REPLY_ACK'));
  await share(t, frontend);
  await t.rejects(frontend.request('SET_FEATURES', LOGGED), { code: 'EFAULT' });
  t.equal(nic.features, VERSION_1, 'nothing changed');

  await frontend.request('SET_PROTOCOL_FEATURES', MIGRATION);
  await frontend.request('SET_FEATURES', LOGGED);
  t.equal(nic.features, VERSION_1);
  const { fd } = logFile(t);
  const log = { mmapSize: LOG_BYTES, mmapOffset: 0 };
  await frontend.request('SET_LOG_BASE', log, [fd]);
  t.equal(nic.features, VERSION_1 | FEATURE.LOG_ALL);
  const short = { mmapSize: LOG_BYTES - 1, mmapOffset: 0 };
  await t.rejects(frontend.request('SET_LOG_BASE', short, [fd]), { code: 'EFAULT' }, 'A9');
  await frontend.request('SET_FEATURES', LOGGED & ~VHOST_F_LOG_ALL);
  t.equal(nic.features, VERSION_1);
});

t.test('B8 T27 a front-end reads from its log what a NIC has written', async (t) => {
  const frames = [new Uint8Array(60).fill(7)];
  const readable = new Subject<void>();
  const socket = new NullSocket();
  Object.assign(socket, {
    readable$: readable,
    receive(batch: PacketBatch) {
      const frame = frames.shift();
      if (frame) batch.deliver(frame);
      return batch.frameCount;
    },
  });
  const nic = new VhostNet({ backends: socket });
  const { frontend } = await benchFor(t, nic);
  await negotiate(frontend, FEATURES, MIGRATION);
  const region = memoryRegion(t);
  const memory = mapShared(region.fd, 0, region.size);
  t.teardown(() => memory.release());
  await frontend.shareMemory([region]);
  const view = new DataView(memory.windows[0] as ArrayBuffer);
  // One buffer of 2 KiB across two pages.
  view.setBigUint64(0, BigInt(GUEST_BASE + 0x20_ff0), true);
  view.setUint32(8, 2048, true);
  view.setUint16(12, 2, true);
  view.setUint16(0x4002, 1, true);
  const { fd, bits } = logFile(t);
  await frontend.request('SET_LOG_BASE', { mmapSize: LOG_BYTES, mmapOffset: 0 }, [fd]);
  await frontend.request('SET_FEATURES', LOGGED);
  const addresses = { ...ringAddresses(0), flags: 1, logAddress: GUEST_BASE + 0x5000 };
  await frontend.startQueue(0, { size: 8, addresses, kick: event(t), call: event(t) });
  await until(t, 'the frame is in the ring', () => view.getUint16(0x5002, true) === 1);
  const pages = [...bits].flatMap((byte, at) =>
    [0, 1, 2, 3, 4, 5, 6, 7].filter((bit) => (byte >> bit) & 1).map((bit) => at * 8 + bit),
  );
  const base = GUEST_BASE / 4096;
  t.same(pages, [base + 5, base + 0x20, base + 0x21]);
});

t.test('T61 SEND_RARP sends one frame, out of the first pair’s backend', async (t) => {
  const sent: Uint8Array[] = [];
  const writable = new Subject<void>();
  const recorder = (room: { frames: number }) =>
    Object.assign(new NullSocket(), {
      headerLength: 12,
      writable$: writable,
      send(batch: PacketBatch, first: number) {
        if (room.frames === 0) return 0;
        room.frames -= 1;
        const frame = new Uint8Array(batch.frameLength(first));
        batch.copyFrame(first, frame);
        sent.push(frame);
        return 1;
      },
    });
  const room = { frames: 0 };
  const other = { frames: 99 };
  const nic = new VhostNet({ backends: [recorder(room), recorder(other)] });
  const { frontend } = await benchFor(t, nic);
  await negotiate(frontend, FEATURES, MIGRATION);
  const mappings = memfdMappings();
  const mac = Uint8Array.of(0x52, 0x54, 0, 1, 2, 3);
  await frontend.request('SEND_RARP', mac);
  t.same(sent, [], 'the backend is full');
  t.ok(writable.observed);
  room.frames = 9;
  writable.next();
  t.notOk(writable.observed);
  writable.next();
  t.equal(sent.length, 1, 'once');
  const frame = Buffer.from(sent[0] as Uint8Array).toString('hex');
  const addresses = '525400010203';
  t.equal(
    frame,
    [
      '00'.repeat(12), // the virtio-net header
      `${'ff'.repeat(6)}${addresses}8035`,
      `0001080006040003${addresses}00000000${addresses}00000000`,
      '00'.repeat(18),
    ].join(''),
  );
  await frontend.request('SEND_RARP', mac);
  t.equal(sent.length, 2, 'and once more for each request');
  t.equal(other.frames, 99);
  t.equal(memfdMappings(), mappings, 'nothing stays mapped');
});
