import { once } from 'node:events';
import { VhostError } from '@rxvhost/core';
import t, { type Test } from 'tap';
import { GuestVsock, type GuestVsockOptions, HEADER_BYTES, Operation } from '../src/index.js';
import { FakeDevice, settle } from './support/fake-device.js';
import { newArena, startMachine } from './support/machine.js';
import { GUEST_CID } from './support/pair.js';
import { Recorder } from './support/recorder.js';

t.setTimeout(120_000);

/** A driver over a device that a test moves by hand. */
async function probe(
  t: Test,
  queueSize?: number,
  options?: GuestVsockOptions,
): Promise<{ device: FakeDevice; guest: GuestVsock }> {
  const device = new FakeDevice(newArena(), queueSize);
  const guest = await GuestVsock.probe(device.arena, device.port(), options);
  t.teardown(() => guest.remove());
  return { device, guest };
}

/** A connection that the device accepts, with all its packets taken. */
async function connect(device: FakeDevice, guest: GuestVsock): Promise<Recorder> {
  const recorder = new Recorder();
  const connection = guest.endpoint.connect({ cid: 2, port: 80 }, recorder);
  recorder.connection = connection;
  await settle();
  device.takeAllPackets();
  const ports = { sourcePort: 80, destinationPort: connection.local.port };
  device.deliver({ ...ports, operation: Operation.RESPONSE, bufferAllocation: 1 << 24 });
  await settle();
  return recorder;
}

t.test(
  'D1 a guest has one device, and its address comes from the configuration space',
  async (t) => {
    const { device, guest } = await probe(t);
    t.equal(guest.endpoint.cid, GUEST_CID);
    await t.rejects(GuestVsock.probe(device.arena, device.port()), { code: 'EBUSY' });
    const other = await probe(t);
    t.ok(other.guest, 'another guest has its own');
    await guest.remove();
    const again = await GuestVsock.probe(device.arena, new FakeDevice(device.arena).port());
    await again.remove();
  },
);

t.test(
  'D2 the receive queue is filled with buffers of a header and 4 KiB, and again below half',
  async (t) => {
    const { device } = await probe(t, 16);
    t.equal(device.receive.offered, 16);
    t.equal(device.kicks(0), 1, 'with one kick');
    for (let packet = 0; packet < 8; packet += 1) {
      device.deliver({ operation: Operation.RST });
      await settle();
    }
    t.equal(device.receive.offered, 8, 'half of them are there: nothing yet');
    device.deliver({ operation: Operation.RST });
    await settle();
    t.equal(device.receive.offered, 16, 'fewer than half: full again');
    t.equal(device.receive.take()?.length, HEADER_BYTES + 4096);
  },
);

t.test('D3 a full ring keeps packets in order, and returned buffers resume sending', async (t) => {
  const { device, guest } = await probe(t, 4);
  const { connection } = await connect(device, guest);
  const sent = Buffer.alloc(10 * 65_536);
  for (let at = 0; at < sent.length; at += 4) sent.writeUInt32LE(at, at);
  let gone = false;
  connection?.send(sent, () => {
    gone = true;
  });
  await settle();
  const got: Buffer[] = [];
  const kicks = device.kicks(1);
  for (let round = 0; got.length < 10; round += 1) {
    const ids: number[] = [];
    for (let packet = device.takePacket(); packet; packet = device.takePacket()) {
      got.push(packet.payload);
      ids.push(packet.id);
    }
    t.equal(gone, got.length === 10, 'the sender is told when the last byte has gone');
    for (const id of ids) device.transmit.use(id, 0);
    await settle();
    if (round > 10) break;
  }
  t.ok(Buffer.concat(got).equals(sent));
  t.ok(guest.counters.transmitFull >= 2);
  t.ok(device.kicks(1) - kicks < 10, 'a batch has one kick');
});

t.test('D3 without a device connecting is ENODEV', async (t) => {
  const { guest } = await probe(t);
  await guest.remove();
  t.throws(() => guest.sockets.connect({ cid: 2, port: 80 }), { code: 'ENODEV' });
});

t.test(
  'D4 T73 receiving stops while a ring’s worth of replies waits, and resumes one below',
  async (t) => {
    const { device, guest } = await probe(t, 16, { transmitBuffers: 4 });
    const ask = () => device.deliver({ sourcePort: 9, operation: Operation.REQUEST });
    for (let packets = 0; packets < 100; packets += 1) {
      ask();
      await settle();
    }
    const sent = 4;
    t.equal(guest.endpoint.queuedReplies, 16, 'replies wait: the device takes none');
    t.equal(guest.counters.packetsReceived, 16 + sent, 'no packet more is taken in');
    t.equal(guest.counters.replyPauses, 1);
    const before = guest.counters.packetsReceived;
    await settle();
    t.equal(guest.counters.packetsReceived, before, 'and nothing spins');
    const packet = device.takePacket();
    device.transmit.use(packet?.id ?? 0, 0);
    for (const other of [device.takePacket(), device.takePacket(), device.takePacket()]) {
      device.transmit.use(other?.id ?? 0, 0);
    }
    await settle();
    t.ok(guest.counters.packetsReceived > before, 'each reply that has gone lets packets in');
    for (let round = 0; round < 50; round += 1) {
      device.takeAllPackets();
      await settle();
    }
    t.equal(guest.endpoint.queuedReplies, 0);
    ask();
    await settle();
    t.equal(device.takeAllPackets().length, 1, 'all is as before');
  },
);

t.test(
  'D5 T78 packets that are too short, too long or of another length than they say are dropped',
  async (t) => {
    const { device, guest } = await probe(t);
    const ask = { sourcePort: 9, operation: Operation.REQUEST };
    device.deliver(ask, Buffer.alloc(0), HEADER_BYTES - 1);
    device.deliver(ask, Buffer.alloc(0), 0);
    device.deliver(ask, Buffer.alloc(0), HEADER_BYTES + 4097);
    device.deliver(ask, Buffer.alloc(0), 0xffff_ffff);
    await settle();
    t.equal(guest.counters.badLength, 4);
    device.deliver({ ...ask, length: 1 });
    device.deliver({ ...ask, length: 0 }, Buffer.alloc(10));
    device.deliver({ ...ask, length: 0xffff_ffff }, Buffer.alloc(4096));
    await settle();
    t.equal(guest.counters.wrongLength, 3);
    t.equal(guest.counters.packetsReceived, 0);
    t.equal(device.takeAllPackets().length, 0);
    device.deliver(ask);
    await settle();
    t.equal(device.takeAllPackets()[0]?.operation, Operation.RST, 'a good one is answered');
  },
);

t.test(
  'D6 a transport reset reads the address anew and ends connections, its buffer goes back',
  async (t) => {
    const { device, guest } = await probe(t);
    t.equal(device.event.offered, 8);
    const recorder = await connect(device, guest);
    let listened = 0;
    guest.endpoint.listen(5, {
      request(request) {
        listened += 1;
        request.refuse();
      },
    });
    device.sendEvent(0, 3);
    device.sendEvent(0, 5);
    device.sendEvent(1);
    await settle();
    t.same(recorder.heard, ['connected'], 'a wrong length and an unknown event are ignored');
    device.setCid(77);
    device.sendEvent(0);
    await settle();
    t.same(recorder.heard, ['connected', 'closed ECONNRESET']);
    t.equal(guest.endpoint.cid, 77);
    t.equal(device.event.offered, 8, 'every buffer is there again');
    device.deliver({ destinationCid: 77, destinationPort: 5, operation: Operation.REQUEST });
    await settle();
    t.equal(listened, 1, 'listeners stay');
  },
);

t.test('D7 removing the device frees every buffer, and nothing runs afterwards', async (t) => {
  const arena = newArena();
  const device = new FakeDevice(arena);
  const free = arena.freeBytes;
  const guest = await GuestVsock.probe(arena, device.port());
  const recorder = await connect(device, guest);
  recorder.connection?.send(Buffer.alloc(1_000_000));
  await settle();
  t.ok(arena.freeBytes < free);
  const removed = guest.remove();
  device.deliver({ sourcePort: 9, operation: Operation.REQUEST });
  await removed;
  t.equal(device.resets, 1);
  t.equal(arena.freeBytes, free, 'all of its memory is free');
  t.equal(recorder.heard.at(-1), 'closed ECONNRESET');
  const { packetsReceived, packetsSent } = guest.counters;
  for (const ring of device.card.rings) ring.call.signal();
  await settle();
  t.equal(guest.counters.packetsReceived, packetsReceived);
  t.equal(guest.counters.packetsSent, packetsSent);
  t.equal(await guest.remove(), undefined, 'once is enough');
  t.equal(device.resets, 1);
});

t.test('D7 a device whose reset fails frees its buffers too', async (t) => {
  const arena = newArena();
  const device = new FakeDevice(arena);
  const free = arena.freeBytes;
  const gone = new VhostError('ECONNRESET', 'the back-end is gone');
  const port = { ...device.port(), reset: () => Promise.reject(gone) };
  const guest = await GuestVsock.probe(arena, port);
  await t.rejects(guest.remove(), { code: 'ECONNRESET' });
  t.equal(arena.freeBytes, free);
  await (await GuestVsock.probe(arena, new FakeDevice(arena).port())).remove();
});

t.test('a device that breaks a ring is reported, and its driver stands still', async (t) => {
  const { device, guest } = await probe(t);
  const fault = new Promise<{ code: string }>((resolve) => guest.errors$.subscribe(resolve));
  device.receive.use(3, 100);
  device.receive.use(3, 100);
  t.match(await fault, { name: 'VhostError' });
  t.throws(() => guest.sockets.connect({ cid: 2, port: 1 }), { code: 'ENODEV' });
});

t.test(
  'D8 D9 guest and host device in one process: both ways, closed ports, a new start',
  async (t) => {
    const { guest, host, device } = await startMachine(t);
    const sent = Buffer.alloc(1_500_000, 'both ways');
    for (const [from, to, cid] of [
      [guest.sockets, host, 2],
      [host, guest.sockets, GUEST_CID],
    ] as const) {
      const server = to.createServer({ allowHalfOpen: true }, (socket) => socket.pipe(socket));
      server.listen(1000);
      const socket = from.connect({ cid, port: 1000, allowHalfOpen: true });
      const chunks: Buffer[] = [];
      socket.on('data', (chunk) => chunks.push(chunk));
      socket.end(sent);
      await once(socket, 'close');
      t.ok(Buffer.concat(chunks).equals(sent));
      const refused = from.connect({ cid, port: 1001 });
      await t.rejects(once(refused, 'connect'), { code: 'ECONNREFUSED' });
      server.close();
    }
    host.createServer((far) => far.on('error', () => {})).listen(7);
    const socket = guest.sockets.connect({ cid: 2, port: 7 });
    await once(socket, 'connect');
    device.resetTransport();
    const [error] = await once(socket, 'error');
    t.equal(error.code, 'ECONNRESET', 'T76 the guest hears of a transport reset');
  },
);

t.test('D9 messages and many connections at once over the rings', async (t) => {
  const { guest, host } = await startMachine(t);
  host.createServer({ type: 'seqpacket' }, (socket) => socket.pipe(socket)).listen(2000);
  const sizes = [0, 1, 5000, 100_000, 0, 262_144];
  await Promise.all(
    Array.from({ length: 100 }, async (_, index) => {
      const socket = guest.sockets.connect({ cid: 2, port: 2000, type: 'seqpacket' });
      const got: number[] = [];
      socket.on('data', (message: Buffer) => {
        if (message.every((byte) => byte === index)) got.push(message.length);
        if (got.length === sizes.length) socket.end();
      });
      for (const size of sizes) socket.write(Buffer.alloc(size, index));
      await once(socket, 'close');
      t.same(got, sizes);
    }),
  );
});
