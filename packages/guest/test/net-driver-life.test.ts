import { FEATURE, LocalEvent, loopback, type PacketBatch } from '@rxvhost/core';
import t from 'tap';
import {
  PLAIN_NET_HEADER,
  SplitDriverQueue,
  VirtioNetDriver,
  vringAddresses,
} from '../src/index.js';
import { plainArena } from './support/arena.js';
import { ModelSplitDevice } from './support/model-split-device.js';
import { plugged, turn, until } from './support/nics.js';
import { RecordingSocket } from './support/recording-socket.js';

t.test('T19 a driver that is reset and started again finds a NIC that works', async (t) => {
  const { nic, device, received, close } = plugged(loopback(), { queueSize: 8 });
  for (let life = 1; life <= 3; life += 1) {
    for (let frame = 0; frame < 5; frame += 1) nic.driver.send(new Uint8Array(100).fill(life));
    await until(() => received.length === 5 * life);
    t.equal(received.at(-1)?.[0], life);
    nic.driver.stop();
    for (const { index } of nic.rings) device.runQueue(index, 'stopped');
    nic.driver.reset();
    t.equal(nic.ring(0).queue.outstanding, 0, 'no buffer is left in the ring');
    for (const { index, queue } of nic.rings) {
      device.setVringBase(index, 0);
      device.setVringAddresses(index, vringAddresses(nic.arena, queue));
      device.runQueue(index, 'running');
    }
    nic.driver.start();
  }
  await close();
});

t.test('C2 a header of the guest goes through to a backend that wants it, and back', async (t) => {
  const socket = new RecordingSocket();
  socket.headerLength = 12;
  const { nic, received, close } = plugged(socket, { features: FEATURE.VERSION_1 });
  const header = {
    ...PLAIN_NET_HEADER,
    flags: 1,
    gsoType: 4,
    headerLength: 0x0102,
    gsoSize: 0x0304,
    checksumStart: 0x0506,
    checksumOffset: 0x0708,
  };
  nic.driver.send(new Uint8Array(60).fill(9), header);
  await until(() => socket.sent.length === 1);
  const bytes = [1, 4, 2, 1, 4, 3, 6, 5, 8, 7, 0, 0];
  t.strictSame([...(socket.sent[0] ?? [])], [...bytes, ...new Array(60).fill(9)]);
  const headers: object[] = [];
  nic.driver.frames$.subscribe((batch) => {
    headers.push(batch.header(0));
    t.throws(() => batch.header(batch.count), { code: 'ERANGE' });
    t.throws(() => batch.frame(batch.count), { code: 'ERANGE' });
  });
  socket.feed(Uint8Array.from([...bytes, ...new Array(60).fill(9)]));
  await until(() => received.length === 1);
  t.strictSame(headers, [{ ...header, bufferCount: 1 }]);
  nic.driver.send(new Uint8Array(60));
  await until(() => socket.sent.length === 2);
  t.strictSame(socket.sent[1], new Uint8Array(72), 'the next one has a header of its own');
  await close();
});

t.test('a NIC that cannot be is refused', async (t) => {
  const arena = plainArena();
  const makeLink = (size: number) => ({
    queue: new SplitDriverQueue(arena, size),
    kick: new LocalEvent(),
    call: new LocalEvent(),
  });
  const links = { receive: makeLink(4), transmit: makeLink(4) };
  const transmitShape = { headerDescriptors: 4, frameDescriptors: 1 };
  for (const options of [
    { transmitShape },
    { receiveShape: transmitShape },
    { receiveBufferLength: 12 },
  ]) {
    const features = FEATURE.VERSION_1;
    t.throws(() => new VirtioNetDriver(arena, links, { features, ...options }), { code: 'EINVAL' });
  }
  const { nic, close } = plugged(loopback());
  t.throws(() => nic.ring(2), { code: 'ENOBUFS' });
  t.throws(() => nic.pair(1), { code: 'ENOBUFS' });
  await close();
});

/** A queue whose device uses everything just while the driver asks to be called. */
class RacingQueue extends SplitDriverQueue {
  whileAsked: () => void = () => {};

  override enableCallbacks(after?: number): boolean {
    this.whileAsked();
    return super.enableCallbacks(after);
  }
}

t.test('T41 room that appears while the driver asks for a call is not missed', async (t) => {
  const arena = plainArena();
  const transmit = new RacingQueue(arena, 4, { eventIndex: true });
  const receive = new SplitDriverQueue(arena, 4);
  const device = new ModelSplitDevice(arena, transmit, true);
  const events = () => ({ kick: new LocalEvent(), call: new LocalEvent() });
  const driver = new VirtioNetDriver(
    arena,
    { receive: { queue: receive, ...events() }, transmit: { queue: transmit, ...events() } },
    { features: FEATURE.VERSION_1 | FEATURE.EVENT_IDX },
  );
  driver.start();
  const useAll = () => {
    while (device.waiting) device.complete(device.take(), 0);
  };
  const frame = new Uint8Array(60);
  const rooms: number[] = [];
  driver.writable$.subscribe((room) => rooms.push(room));

  for (let sent = 0; sent < 4; sent += 1) t.ok(driver.send(frame));
  transmit.whileAsked = useAll;
  t.ok(driver.send(frame), 'taken: there is room after all');
  transmit.whileAsked = () => {};
  for (let sent = 0; sent < 3; sent += 1) t.ok(driver.send(frame));
  t.notOk(driver.send(frame), 'the ring is full');
  transmit.whileAsked = useAll;
  t.ok(driver.send(frame), 'taken, although somebody waits');
  transmit.whileAsked = () => {};
  await turn(3);
  t.strictSame(rooms, [3], 'who waits is told, although no call came');
  driver.close();
});

t.test('a frame may be as long as the rings allow, in pieces of any number', async (t) => {
  const socket = new RecordingSocket();
  const shape = { headerDescriptors: 12, frameDescriptors: 20 };
  const { nic, received, close } = plugged(socket, {
    queueSize: 64,
    maxFrameLength: 60_000,
    receiveBufferLength: 60_012,
    transmitShape: shape,
    receiveShape: shape,
  });
  const counts: number[] = [];
  const { receive } = socket;
  socket.receive = (batch: PacketBatch) => {
    counts.push(batch.firstSegment[1] ?? 0);
    return receive.call(socket, batch);
  };
  const frame = Uint8Array.from({ length: 60_000 }, (_, at) => at % 251);
  nic.driver.send(frame);
  await until(() => socket.sent.length === 1);
  t.ok(Buffer.from(frame).equals(socket.sent[0] ?? frame.subarray(1)), 'sent whole');
  socket.feed(frame);
  await until(() => received.length === 1);
  t.ok(Buffer.from(frame).equals(received[0] ?? frame.subarray(1)), 'received whole');
  t.equal(counts[0], 32, 'of as many segments as were asked for');
  nic.driver.send(frame.subarray(0, 3));
  await until(() => socket.sent.length === 2);
  t.strictSame(socket.sent[1], frame.subarray(0, 3), 'fewer bytes than pieces');
  await close();
});
