/** Finishing in software what a virtio-net header leaves to the device. */
import fc from 'fast-check';
import t from 'tap';
import {
  ERRNO,
  FEATURE,
  GSO,
  GUEST_OFFLOADS,
  HEADER_FLAG,
  HOST_OFFLOADS,
  NET_FEATURE,
  type PacketBatch,
  type PacketSocket,
} from '../src/index.js';
import { ReceiveFilter } from '../src/net/control/receive-filter.js';
import { newHandlerCounters } from '../src/net/net-statistics.js';
import { AcceptedReceiver } from '../src/net/offload/accepted-receiver.js';
import { FinishingSender } from '../src/net/offload/finishing-sender.js';
import { HeaderRules } from '../src/net/offload/header-rules.js';
import { LooseBatch } from './support/loose-batch.js';
import { FakeSocket, makeNic, frame as plainFrame } from './support/nic.js';
import {
  checkTransport,
  gsoTypeOf,
  type LargePacket,
  TCP_FLAGS,
  takeApart,
  unfinishedFrame,
} from './support/packets.js';

const payloadOf = (length: number, seed = 1): Uint8Array =>
  Uint8Array.from({ length }, (_, at) => (Math.imul(at + seed, 2654435761) >>> 13) & 0xff);

/** A plain frame behind a header that asks for nothing. */
const whole = (value: number, length?: number): Uint8Array =>
  Uint8Array.from([...new Uint8Array(12), ...plainFrame(value, length)]);

const bareSender = (socket: PacketSocket) => new FinishingSender(socket, 12, 0, HOST_OFFLOADS, 0n);

const bareSocket = (): FakeSocket => {
  const socket = new FakeSocket();
  socket.headerLength = 0;
  return socket;
};

/** Sends frames through a layer over a socket with all the room in the world; returns what went out. */
function sendAll(frames: readonly Uint8Array[], piece?: number): Uint8Array[] {
  const socket = bareSocket();
  const loose = new LooseBatch();
  for (const bytes of frames) loose.add(bytes, piece);
  const before = loose.bytes.slice();
  const layer = bareSender(socket);
  const sent = layer.send(loose.batch, 0);
  layer.release();
  if (sent !== frames.length)
    throw new Error(`${sent} of ${frames.length} frames were disposed of`);
  if (Buffer.compare(before, loose.bytes) !== 0) throw new Error('guest memory was written');
  return socket.sent;
}

const anyPacket = fc.record({
  version: fc.constantFrom(4 as const, 6 as const),
  protocol: fc.constantFrom('tcp' as const, 'udp' as const),
  payload: fc
    .tuple(fc.integer({ min: 1, max: 60_000 }), fc.nat(1000))
    .map(([n, s]) => payloadOf(n, s)),
  tags: fc.nat(2),
  ipOptions: fc.nat(4).map((n) => n * 8),
  tcpOptions: fc.nat(10).map((n) => n * 4),
  tcpFlags: fc.nat(255),
});

t.test(
  'T55 segments put together again are the payload, each with right lengths and checksums',
  async () => {
    fc.assert(
      fc.property(
        anyPacket,
        fc.integer({ min: 40, max: 9000 }),
        fc.integer({ min: 1, max: 5000 }),
        (packet, size, piece) => {
          const { payload, protocol } = packet;
          const gsoSize = Math.max(size, Math.ceil(payload.length / 2000));
          const pieces = Math.max(piece, Math.ceil(payload.length / 900));
          const frames = sendAll([unfinishedFrame(packet, gsoTypeOf(packet), gsoSize)], pieces);
          const parts = frames.map((bytes) => takeApart(bytes, packet));
          const joined = Buffer.concat(parts.map((part) => part.payload));
          if (Buffer.compare(joined, payload) !== 0) throw new Error('payload differs');
          for (const [index, part] of parts.entries()) {
            const last = index === parts.length - 1;
            if (part.payload.length !== (last ? payload.length - index * gsoSize : gsoSize)) {
              throw new Error(`segment ${index} has ${part.payload.length} bytes`);
            }
            if (packet.version === 4 && part.identification !== index)
              throw new Error('identification');
            if (protocol !== 'tcp') continue;
            if (
              part.sequence % 0x1_0000_0000 !== (index * gsoSize) % 0x1_0000_0000 &&
              part.sequence + 0x1_0000_0000 !== index * gsoSize
            ) {
              throw new Error(`sequence ${part.sequence} of segment ${index}`);
            }
            let flags = packet.tcpFlags;
            if (index > 0) flags &= ~TCP_FLAGS.CWR;
            if (!last) flags &= ~(TCP_FLAGS.FIN | TCP_FLAGS.PSH);
            if (part.flags !== flags) throw new Error(`flags ${part.flags} of segment ${index}`);
          }
        },
      ),
      { numRuns: 200 },
    );
  },
);

t.test('T55 fragments put together again are the datagram, with a right checksum', async () => {
  fc.assert(
    fc.property(anyPacket, fc.integer({ min: 100, max: 9000 }), (any, gsoSize) => {
      const packet: LargePacket = { ...any, protocol: 'udp' };
      const frames = sendAll([unfinishedFrame(packet, GSO.UDP, gsoSize)]);
      const parts = frames.map((bytes) => takeApart(bytes, packet));
      if (parts.length === 1) return; // small enough to leave as it is
      let end = 0;
      for (const [index, part] of parts.entries()) {
        if (part.offset !== end || part.more !== index < parts.length - 1) throw new Error('order');
        if (part.identification !== parts[0]?.identification) throw new Error('identification');
        end += part.payload.length;
      }
      const datagram = Buffer.concat(parts.map((part) => part.payload));
      if (Buffer.compare(datagram.subarray(8), packet.payload) !== 0) throw new Error('payload');
      const at = 14 + 4 * (packet.tags ?? 0) + (packet.version === 4 ? 12 : 8);
      const [first] = frames as [Uint8Array];
      checkTransport(first.subarray(at, at + (packet.version === 4 ? 8 : 32)), 17, datagram);
    }),
    { numRuns: 100 },
  );
});

t.test('T55 a partial checksum is completed, in a copy', async (t) => {
  for (const version of [4, 6] as const) {
    for (const protocol of ['tcp', 'udp'] as const) {
      for (const length of [1, 2, 17, 1400]) {
        const packet = { version, protocol, payload: payloadOf(length) };
        const [sent, ...more] = sendAll([unfinishedFrame(packet, GSO.NONE, 0)], 7) as [Uint8Array];
        t.equal(more.length, 0);
        t.same(takeApart(sent, packet).payload, packet.payload);
      }
    }
  }
});

t.test('T55 frames keep their order, whole and unfinished ones mixed', async (t) => {
  const packet: LargePacket = { version: 4, protocol: 'tcp', payload: payloadOf(3000) };
  const large = unfinishedFrame(packet, GSO.TCPV4, 1000);
  const partial = unfinishedFrame({ ...packet, payload: payloadOf(10) }, GSO.NONE, 0);
  const sent = sendAll([whole(1), whole(2), large, partial, whole(3), large, whole(4)]);
  t.same(
    sent.map((bytes) => bytes.length),
    [60, 60, 1054, 1054, 1054, 64, 60, 1054, 1054, 1054, 60],
  );
  t.same(
    [0, 1, 6, 10].map((at) => sent[at]?.[0]),
    [1, 2, 3, 4],
  );
});

t.test('T55 C4 a full socket loses, doubles and reorders no segment', async () => {
  fc.assert(
    fc.property(
      fc.array(fc.constantFrom('whole', 'partial', 'large', 'malformed'), { maxLength: 12 }),
      fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1 }),
      (kinds, rooms) => {
        const socket = bareSocket();
        const layer = bareSender(socket);
        const packet: LargePacket = { version: 4, protocol: 'tcp', payload: payloadOf(20_000) };
        const frames = kinds.map((kind, index) => {
          switch (kind) {
            case 'whole':
              return whole(index);
            case 'partial':
              return unfinishedFrame({ ...packet, payload: payloadOf(5, index) }, GSO.NONE, 0);
            case 'large':
              return unfinishedFrame(packet, GSO.TCPV4, 64 + index);
            default:
              return unfinishedFrame(packet, GSO.TCPV4, 0);
          }
        });
        let next = 0;
        for (let round = 0; next < frames.length; round += 1) {
          if (round > 10_000) throw new Error('no progress');
          const loose = new LooseBatch(1024 * 1024);
          for (const bytes of frames.slice(next)) loose.add(bytes);
          for (let index = 0; index < loose.batch.count; index += 1) {
            loose.batch.heads[index] = next + index;
          }
          socket.room = rooms[round % rooms.length] as number;
          next += layer.send(loose.batch, 0);
        }
        layer.release();
        const expected = sendAllOneByOne(frames.filter((_, index) => kinds[index] !== 'malformed'));
        if (Buffer.compare(Buffer.concat(socket.sent), Buffer.concat(expected)) !== 0) {
          throw new Error('what went out differs');
        }
      },
    ),
    { numRuns: 60 },
  );
});

const sendAllOneByOne = (frames: readonly Uint8Array[]) =>
  frames.flatMap((bytes) => sendAll([bytes]));

t.test('T37 a header that does not fit its frame drops that frame, and no other', async (t) => {
  const packet: LargePacket = { version: 4, protocol: 'tcp', payload: payloadOf(3000) };
  const broken = (
    change: (header: DataView, frame: Uint8Array) => void,
    type: number = GSO.TCPV4,
  ) => {
    const bytes = unfinishedFrame(packet, type, 1000);
    change(new DataView(bytes.buffer), bytes);
    return bytes;
  };
  const cases: Record<string, Uint8Array> = {
    'csum_start behind the end': broken((header) => header.setUint16(6, 60_000, true), GSO.NONE),
    'csum_offset behind the end': broken((header) => header.setUint16(8, 60_000, true), GSO.NONE),
    'the checksum over the end by a byte': broken(
      (header, { length }) => header.setUint16(8, length - 12 - 34 - 1, true),
      GSO.NONE,
    ),
    'gso_size 0': broken((header) => header.setUint16(4, 0, true)),
    'more segments than there may be': broken((header) => header.setUint16(4, 1, true)),
    'a segment without NEEDS_CSUM': broken((header) => header.setUint8(0, 0)),
    'TCPv6 over IPv4': broken((header) => header.setUint8(1, GSO.TCPV6)),
    'UDP over TCP': broken((header) => header.setUint8(1, GSO.UDP_L4)),
    'an unknown type': broken((header) => header.setUint8(1, 0x42)),
    'csum_start beside the TCP header': broken((header) => header.setUint16(6, 35, true)),
    'csum_offset beside the checksum': broken((header) => header.setUint16(8, 14, true)),
    'a TCP header of 16 bytes': broken((_, frame) => frame.fill(0x40, 12 + 34 + 12, 12 + 34 + 13)),
    'an IP header of 16 bytes': broken((_, frame) => frame.fill(0x44, 12 + 14, 12 + 15)),
    'a fragment': broken((_, frame) => frame.fill(0x20, 12 + 20, 12 + 21)),
    'no IP at all': broken((_, frame) => frame.fill(0x99, 12 + 12, 12 + 14)),
    'headers that end behind the frame': broken(() => {}).slice(0, 12 + 34 + 19),
  };
  for (const [what, bytes] of Object.entries(cases)) {
    const socket = bareSocket();
    const loose = new LooseBatch();
    for (const frame of [whole(1), bytes, whole(2)]) loose.add(frame);
    const layer = bareSender(socket);
    t.equal(layer.send(loose.batch, 0), 3, what);
    t.same([...loose.batch.results.subarray(0, 3)], [72, -ERRNO.EBADMSG, 72], what);
    t.equal(socket.sent.length, 2, what);
    layer.release();
  }
});

t.test('T37 a frame longer than any that there is, and any bytes at all, do no harm', async (t) => {
  const loose = new LooseBatch();
  const socket = bareSocket();
  const layer = bareSender(socket);
  const huge = new Uint8Array(1_000_000);
  huge[0] = HEADER_FLAG.NEEDS_CSUM;
  loose.add(huge);
  t.equal(layer.send(loose.batch, 0), 1);
  t.equal(loose.batch.results[0], -ERRNO.EMSGSIZE);
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 13, maxLength: 400 }), fc.nat(255), (bytes, type) => {
      loose.reset();
      bytes[0] = (bytes[0] as number) | 1;
      bytes[1] = type & 0x85;
      loose.add(bytes, 9);
      if (layer.send(loose.batch, 0) !== 1) throw new Error('not disposed of');
    }),
  );
  layer.release();
});

t.test('T37 what was not negotiated is dropped, T38 as it was read once', async (t) => {
  const socket = bareSocket();
  const layer = new FinishingSender(socket, 12, 0, NET_FEATURE.CSUM, 0n);
  const loose = new LooseBatch();
  const packet: LargePacket = { version: 4, protocol: 'tcp', payload: payloadOf(3000) };
  loose.add(unfinishedFrame(packet, GSO.TCPV4, 1000));
  t.equal(layer.send(loose.batch, 0), 1);
  t.equal(loose.batch.results[0], -ERRNO.EBADMSG);
  t.same(socket.sent, []);
  // A socket that changes guest memory while it is given frames stands for a guest that does.
  const racing = bareSocket();
  const send = racing.send.bind(racing);
  racing.send = (batch, first) => {
    loose.bytes.fill(0xff);
    return send(batch, first);
  };
  loose.reset();
  loose.add(unfinishedFrame({ ...packet, payload: payloadOf(100) }, GSO.NONE, 0));
  const second = bareSender(racing);
  t.equal(second.send(loose.batch, 0), 1);
  t.same(takeApart(racing.sent[0] as Uint8Array, packet).payload, payloadOf(100));
  layer.release();
  second.release();
});

t.test(
  'T55 a socket that honours some offloads gets those unfinished, with their headers',
  async (t) => {
    const socket = new FakeSocket();
    const { CSUM, HOST_TSO4 } = NET_FEATURE;
    const layer = new FinishingSender(socket, 12, 12, HOST_OFFLOADS, CSUM | HOST_TSO4);
    const tcp: LargePacket = { version: 4, protocol: 'tcp', payload: payloadOf(3000) };
    const udp: LargePacket = { version: 6, protocol: 'udp', payload: payloadOf(3000) };
    const loose = new LooseBatch();
    const large = unfinishedFrame(tcp, GSO.TCPV4, 1000);
    loose.add(large);
    loose.add(unfinishedFrame(udp, GSO.UDP_L4, 1000));
    t.equal(layer.send(loose.batch, 0), 2);
    t.same(socket.sent[0], large);
    t.equal(socket.sent.length, 4);
    for (const bytes of socket.sent.slice(1)) {
      t.same([...bytes.subarray(0, 12)], Array(12).fill(0), 'a header that asks for nothing');
      t.equal(takeApart(bytes.subarray(12), udp).payload.length, 1000);
    }
    layer.release();
  },
);

/** What a driver that accepted `features` gets of these frames, and what was counted. */
function receive(
  features: bigint,
  frames: readonly Uint8Array[],
  { mtu = 0, chains = 16, space = 70_000, piece = 70_000, staged = false } = {},
) {
  const socket = new FakeSocket();
  socket.toReceive.push(...frames);
  const { drops } = newHandlerCounters(0, 'receive');
  const rules = HeaderRules.forReceive(features);
  const limits = { headerLength: 12, rules, mtu, drops, staged, filter: new ReceiveFilter() };
  const layer = new AcceptedReceiver(socket, limits);
  const got: Uint8Array[] = [];
  let oversized = 0;
  for (let round = 0; round < 100; round += 1) {
    const loose = new LooseBatch();
    for (let chain = 0; chain < chains; chain += 1) loose.addSpace(space, piece);
    const filled = layer.receive(loose.batch);
    if (filled !== loose.batch.frameCount) throw new Error('one chain a frame');
    for (let frame = 0; frame < filled; frame += 1) {
      const bytes = loose.received(frame);
      got.push(bytes);
    }
    oversized += loose.batch.oversized;
    if (filled === 0) break;
  }
  return { got, drops, oversized };
}

const large4: LargePacket = { version: 4, protocol: 'tcp', payload: payloadOf(3000) };

t.test(
  'T54 a driver that accepted no offload gets finished frames, whatever the socket gives',
  async (t) => {
    const frames = [
      whole(1),
      unfinishedFrame(large4, GSO.TCPV4, 1000),
      unfinishedFrame({ ...large4, payload: payloadOf(10) }, GSO.NONE, 0),
      whole(2),
    ];
    for (const layout of [
      { chains: 1 },
      { chains: 3 },
      { chains: 16 },
      { chains: 1, piece: 5, space: 4000 },
      { chains: 1, piece: 2, space: 3500 },
      { chains: 1, space: 1500, staged: true },
      { chains: 16, piece: 5, space: 1500, staged: true },
    ]) {
      const { got, drops } = receive(0n, frames, layout);
      t.equal(got.length, 6);
      for (const bytes of got) t.same([...bytes.subarray(0, 2)], [0, 0]);
      t.equal(got[0]?.[12], 1);
      t.equal(got[5]?.[12], 2);
      const parts = got.slice(1, 4).map((bytes) => takeApart(bytes.subarray(12), large4).payload);
      t.equal(Buffer.compare(Buffer.concat(parts), large4.payload), 0);
      t.same(takeApart((got[4] as Uint8Array).subarray(12), large4).payload, payloadOf(10));
      t.match(drops, { malformed: 0 });
    }
    const byByte = receive(0n, [whole(1), frames[2] as Uint8Array], {
      chains: 1,
      piece: 1,
      space: 500,
    });
    t.equal(byByte.got.length, 2);
    t.same(takeApart((byByte.got[1] as Uint8Array).subarray(12), large4).payload, payloadOf(10));
  },
);

t.test('T54 a driver gets unfinished what it accepted, and only that', async (t) => {
  const { GUEST_CSUM, GUEST_TSO4, GUEST_ECN, GUEST_USO4, GUEST_USO6 } = NET_FEATURE;
  const tcp4 = unfinishedFrame(large4, GSO.TCPV4, 1000);
  const tcp6 = unfinishedFrame({ ...large4, version: 6 }, GSO.TCPV6, 1000);
  const ecn = unfinishedFrame(large4, GSO.TCPV4 | GSO.ECN, 1000);
  const udp = unfinishedFrame({ ...large4, protocol: 'udp' }, GSO.UDP_L4, 1000);
  const counts = (features: bigint) =>
    [tcp4, tcp6, ecn, udp].map((bytes) => receive(features, [bytes]).got.length);
  t.same(counts(0n), [3, 3, 3, 3]);
  t.same(counts(GUEST_CSUM), [3, 3, 3, 3]);
  t.same(counts(GUEST_CSUM | GUEST_TSO4), [1, 3, 3, 3]);
  t.same(counts(GUEST_CSUM | GUEST_TSO4 | GUEST_ECN), [1, 3, 1, 3]);
  t.same(counts(GUEST_CSUM | GUEST_USO4), [3, 3, 3, 3], 'USO4 alone does not tell the version');
  t.same(counts(GUEST_CSUM | GUEST_USO4 | GUEST_USO6), [3, 3, 3, 1]);
  t.same(counts(GUEST_OFFLOADS), [1, 1, 1, 1]);
  t.same(receive(GUEST_OFFLOADS, [tcp4]).got[0], tcp4, 'untouched');
});

t.test('T54 a verified checksum is mentioned only to a driver with GUEST_CSUM', async (t) => {
  const verified = whole(1);
  verified[0] = HEADER_FLAG.DATA_VALID;
  t.equal(receive(0n, [verified]).got[0]?.[0], 0);
  t.equal(receive(NET_FEATURE.GUEST_CSUM, [verified]).got[0]?.[0], HEADER_FLAG.DATA_VALID);
});

t.test(
  'T54 T37 an unfinished frame that does not fit its header is dropped and counted',
  async (t) => {
    const broken = unfinishedFrame(large4, GSO.TCPV4, 0);
    const { got, drops } = receive(0n, [whole(1), broken, whole(2)]);
    t.same(
      got.map((bytes) => bytes[12]),
      [1, 2],
    );
    t.equal(drops.malformed, 1);
  },
);

t.test('T60 no frame over the agreed MTU reaches the driver, but large segments do', async (t) => {
  const features = GUEST_OFFLOADS;
  const frames = [
    whole(1, 1418),
    whole(2, 1419),
    unfinishedFrame(large4, GSO.TCPV4, 1000),
    whole(3),
  ];
  const { got, oversized } = receive(features, frames, { mtu: 1400 });
  t.same(
    got.map((bytes) => bytes.length),
    [1430, 3066, 72],
  );
  t.equal(oversized, 1);
});

t.test(
  'T54 frames of a socket that cannot be told go through memory of our own only for small buffers',
  async (t) => {
    const { GUEST_CSUM, GUEST_TSO4, MRG_RXBUF } = NET_FEATURE;
    const large = unfinishedFrame(large4, GSO.TCPV4, 1000);
    const receivedWith = async (features: bigint, buffer: number) => {
      const socket = new FakeSocket();
      socket.headerLength = 12;
      const rooms: number[] = [];
      const take = socket.receive.bind(socket);
      const fixed = Object.assign(socket, {
        offloads: { supported: GUEST_OFFLOADS, accept() {}, fixed: true },
        receive: (batch: PacketBatch) => {
          rooms.push(batch.lengths[0] as number);
          return take(batch);
        },
      });
      socket.toReceive.push(large);
      const { nic, receive, setUp, run, offerBuffers } = makeNic({ backends: fixed });
      setUp(FEATURE.VERSION_1 | features);
      offerBuffers(8, buffer);
      run();
      await nic.close();
      return { room: rooms[0], entries: receive.usedIndex, frames: nic.statistics().queues[0] };
    };
    t.match(await receivedWith(0n, 1500), { room: 65_600, entries: 3, frames: { frames: 3 } });
    t.match(await receivedWith(GUEST_CSUM | GUEST_TSO4, 4000), { room: 4000, entries: 1 });
    t.match(await receivedWith(MRG_RXBUF, 1500), { room: 1500, entries: 3, frames: { frames: 3 } });
  },
);

t.test('T55 a NIC finishes what was negotiated, and leaves alone what was not', async (t) => {
  const bytes = unfinishedFrame(large4, GSO.TCPV4, 1000);
  const sentWith = (features: bigint) => {
    const socket = bareSocket();
    const { nic, transmit, port, turns, setUp, run } = makeNic({ backends: socket });
    setUp(features);
    run();
    transmit.data(0, bytes.length).set(bytes);
    const at = BigInt(transmit.address(0)) + 0x100_0000n;
    transmit.descriptor(0, { at, length: bytes.length, absolute: true });
    transmit.offer(0);
    port(1).kick.signal();
    turns.settle();
    return { socket, nic };
  };
  const { CSUM, HOST_TSO4 } = NET_FEATURE;
  const finished = sentWith(FEATURE.VERSION_1 | CSUM | HOST_TSO4);
  t.equal(finished.socket.sent.length, 3);
  t.match(finished.nic.statistics().queues[1], { frames: 1, shortWrites: 0 });
  const refused = sentWith(FEATURE.VERSION_1 | CSUM);
  t.match(refused.nic.statistics().queues[1], { frames: 0, drops: { malformed: 1 } });
  const asIs = sentWith(FEATURE.VERSION_1);
  t.same(asIs.socket.sent, [bytes.subarray(12)], 'no layer, no look at the header');
  for (const { nic } of [finished, refused, asIs]) await nic.close();
});
