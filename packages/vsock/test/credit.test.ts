import fc from 'fast-check';
import t from 'tap';
import { ByteQueue } from '../src/connection/byte-queue.js';
import { type ConnectionOptions, HOST_CID, Operation, VsockEndpoint } from '../src/index.js';
import { acceptWith, connectionOf, Pair } from './support/pair.js';
import { Recorder } from './support/recorder.js';
import { ScriptedPeer } from './support/scripted-peer.js';

t.setTimeout(120_000);

const WRAP = 2 ** 32;

/** A host's endpoint with a listener on port 80, and a peer that a test speaks for. */
function scripted(connections: Partial<ConnectionOptions> = {}): {
  endpoint: VsockEndpoint;
  peer: ScriptedPeer;
  user: Recorder;
} {
  const endpoint = new VsockEndpoint({ cid: HOST_CID, connections });
  const user = new Recorder();
  endpoint.listen(80, acceptWith(user));
  return { endpoint, peer: new ScriptedPeer(endpoint), user };
}

t.test(
  'T71 every packet tells of the buffer, and a window of nothing stops the sender',
  async (t) => {
    const { endpoint, peer, user } = scripted({ bufferSize: 1000 });
    const answer = peer.open(0);
    t.equal(answer?.header.operation, Operation.RESPONSE);
    t.equal(answer?.header.bufferAllocation, 1000);
    connectionOf(user).send(Buffer.alloc(10));
    const asked = peer.all();
    t.same(
      asked.map(({ header }) => header.operation),
      [Operation.CREDIT_REQUEST],
      'it asks, once',
    );
    t.equal(endpoint.statistics().creditStalls, 1);
    peer.send({ operation: Operation.CREDIT_UPDATE, bufferAllocation: 0 });
    t.same(peer.all(), [], 'an answer that gives nothing is no reason to ask again');
    peer.send({ operation: Operation.CREDIT_UPDATE, bufferAllocation: 4 });
    const [first, second] = peer.all();
    t.equal(first?.payload.length, 4);
    t.equal(second?.header.operation, Operation.CREDIT_REQUEST);
    peer.send({ operation: Operation.CREDIT_UPDATE, bufferAllocation: 3, forwardedCount: 4 });
    t.equal(peer.next()?.payload.length, 3);
  },
);

t.test('T71 a shrunken window may be less than nothing, and opens again', async (t) => {
  const { peer, user } = scripted();
  peer.open(100);
  connectionOf(user).send(Buffer.alloc(200));
  t.equal(peer.next()?.payload.length, 100);
  peer.all();
  peer.send({ operation: Operation.CREDIT_UPDATE, bufferAllocation: 50, forwardedCount: 40 });
  t.same(peer.all(), [], '60 bytes are under way, 50 have room');
  peer.send({ operation: Operation.CREDIT_UPDATE, bufferAllocation: 50, forwardedCount: 60 });
  t.equal(peer.next()?.payload.length, 10);
  peer.all();
  peer.send({ operation: Operation.CREDIT_UPDATE, bufferAllocation: 1000, forwardedCount: 110 });
  t.equal(peer.next()?.payload.length, 90);
});

t.test('T71 counts wrap at 2^32', async (t) => {
  const startCount = WRAP - 5;
  const { peer, user } = scripted({ startCount, bufferSize: 1000 });
  peer.send({ operation: Operation.REQUEST, bufferAllocation: 20, forwardedCount: startCount });
  peer.all();
  connectionOf(user).send(Buffer.alloc(40));
  t.equal(peer.next()?.payload.length, 20);
  peer.all();
  peer.send({ operation: Operation.CREDIT_UPDATE, bufferAllocation: 20, forwardedCount: 3 });
  t.equal(peer.next()?.payload.length, 8);
  const rest = { bufferAllocation: 20, forwardedCount: 3 };
  for (let packet = 0; packet < 3; packet += 1) {
    peer.send({ operation: Operation.RW, ...rest }, Buffer.alloc(300));
  }
  t.equal(user.bytes.length, 900);
  t.equal(peer.all().at(-1)?.header.forwardedCount, 895, '900 bytes after 2^32 - 5');
});

t.test('T71 CREDIT_REQUEST is answered, and an update is sent on a partial read', async (t) => {
  const { peer, user } = scripted({ bufferSize: 6000 });
  user.holding = true;
  peer.open(1000);
  peer.send({ operation: Operation.CREDIT_REQUEST, bufferAllocation: 1000 });
  t.equal(peer.next()?.header.operation, Operation.CREDIT_UPDATE);
  for (const size of [3000, 3000]) peer.send({ operation: Operation.RW }, Buffer.alloc(size));
  t.same(peer.all(), [], 'nothing was read');
  t.equal(connectionOf(user).take()?.length, 3000);
  const [update] = peer.all();
  t.equal(update?.header.operation, Operation.CREDIT_UPDATE);
  t.equal(update?.header.forwardedCount, 3000);
});

t.test('T71 a peer that sends more than it has credit for is reset', async (t) => {
  const { endpoint, peer, user } = scripted({ bufferSize: 1000 });
  user.holding = true;
  peer.open(1000);
  peer.send({ operation: Operation.RW }, Buffer.alloc(1000));
  t.notOk(connectionOf(user).closed);
  peer.send({ operation: Operation.RW }, Buffer.alloc(1));
  t.same(user.heard, ['closed ENOBUFS']);
  t.equal(peer.next()?.header.operation, Operation.RST);
  t.equal(endpoint.statistics().resetsSent.overrun, 1);
});

t.test(
  'T71 what a peer could send before it heard of a smaller buffer is no overrun',
  async (t) => {
    const { peer, user } = scripted({ bufferSize: 1000 });
    user.holding = true;
    peer.open(1000);
    connectionOf(user).setBufferSize(100);
    t.equal(peer.next()?.header.bufferAllocation, 100, 'it is told at once');
    peer.send({ operation: Operation.RW }, Buffer.alloc(1000));
    t.same(user.heard, []);
    user.takeAll();
    t.equal(peer.all().at(-1)?.header.forwardedCount, 1000);
    peer.send({ operation: Operation.RW }, Buffer.alloc(101));
    t.same(user.heard, ['closed ENOBUFS'], 'but from here on the smaller one holds');
  },
);

t.test(
  'T71 a peer that lies about credit is never sent more than it said, nor stalled for ever',
  async () => {
    const edge = fc.constantFrom(0, 1, 2, 100, 65_536, WRAP - 1, WRAP / 2, WRAP - 65_536);
    const u32 = fc.oneof(fc.integer({ min: 0, max: WRAP - 1 }), edge);
    const claim = fc.record({
      allocation: fc.oneof(u32, edge),
      forwarded: u32,
      near: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(claim, { maxLength: 40 }), edge, (claims, startCount) => {
        const { peer, user, endpoint } = scripted({ startCount });
        const first = { bufferAllocation: 1000, forwardedCount: startCount };
        peer.send({ operation: Operation.REQUEST, ...first });
        connectionOf(user).send(Buffer.alloc(300_000));
        // What an honest reader of the claims believes: sent, taken out, and how large the buffer is.
        let sent = 0;
        let taken = 0;
        let allocation = 1000;
        const watch = () => {
          for (const { header } of peer.all()) {
            if (header.operation !== Operation.RW) continue;
            sent += header.length;
            if (sent - taken > allocation) throw new Error('the peer was overrun');
          }
        };
        watch();
        for (const { allocation: claimed, forwarded, near } of claims) {
          const count = near ? (startCount + taken + (forwarded % 5000)) % WRAP : forwarded;
          const advance = (count - startCount - taken + 2 * WRAP) % WRAP;
          if (advance <= sent - taken) taken += advance;
          allocation = claimed;
          const fields = { bufferAllocation: claimed, forwardedCount: count };
          peer.send({ operation: Operation.CREDIT_UPDATE, ...fields });
          watch();
        }
        allocation = 1_000_000;
        taken = sent;
        const forwardedCount = (startCount + sent) % WRAP;
        peer.send({
          operation: Operation.CREDIT_UPDATE,
          bufferAllocation: allocation,
          forwardedCount,
        });
        watch();
        if (sent !== 300_000) throw new Error(`stalled after ${sent} bytes`);
        if (endpoint.counters.open !== 1)
          throw new Error('a lie about credit ended the connection');
      }),
      { numRuns: 500 },
    );
  },
);

/** One step of a random conversation; `at` is who does it. */
type Step = { readonly at: 'here' | 'there' } & (
  | { readonly kind: 'send'; readonly size: number }
  | { readonly kind: 'take' | 'hold' | 'let go' }
  | { readonly kind: 'resize'; readonly size: number }
  | { readonly kind: 'run'; readonly turns: number }
);

const size = fc.oneof(
  fc.integer({ min: 0, max: 300 }),
  fc.integer({ min: 0, max: 20_000 }),
  fc.constantFrom(0, 1, 4096, 65_535, 65_536, 65_537, 100_000),
);
const bufferSize = fc.oneof(
  fc.integer({ min: 1, max: 500 }),
  fc.integer({ min: 500, max: 200_000 }),
);
const at = fc.constantFrom('here' as const, 'there' as const);
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ kind: fc.constant('send' as const), at, size }),
  fc.record({ kind: fc.constantFrom('take' as const, 'hold' as const, 'let go' as const), at }),
  fc.record({ kind: fc.constant('resize' as const), at, size: bufferSize }),
  fc.record({ kind: fc.constant('run' as const), at, turns: fc.integer({ min: 1, max: 9 }) }),
);
const conversation = fc.record({
  type: fc.constantFrom('stream' as const, 'seqpacket' as const),
  start: fc.constantFrom(0, WRAP - 1, WRAP - 1000, WRAP - 100_000, WRAP / 2 - 70_000),
  room: fc.constantFrom(1, 7, 512, 4096, 65_536),
  bufferSize,
  steps: fc.array(step, { maxLength: 60 }),
});

t.test(
  'T71 T79 random sizes, windows that shrink and grow, wrap: no overrun, no deadlock, order and borders kept',
  async () => {
    fc.assert(
      fc.property(conversation, ({ type, start, room, bufferSize, steps }) => {
        const connections = { startCount: start, bufferSize };
        const pair = new Pair({ connections }, { room, packetsPerTurn: 3 });
        const ends = pair.connect({ type });
        const sent = { here: [] as Buffer[], there: [] as Buffer[] };
        let fill = 0;
        const act = (one: Step) => {
          const end = ends[one.at];
          switch (one.kind) {
            case 'send': {
              const bytes = Buffer.alloc(one.size, ++fill);
              const limit = connectionOf(end).peerBufferSize;
              if (type === 'seqpacket' && one.size > limit) return;
              connectionOf(end).send(bytes);
              sent[one.at].push(bytes);
              return;
            }
            case 'take':
              end.takeAll();
              return;
            case 'hold':
              end.holding = true;
              return;
            case 'let go':
              end.holding = false;
              end.takeAll();
              return;
            case 'resize':
              connectionOf(end).setBufferSize(one.size);
              return;
            case 'run':
              pair.turns.run(one.turns);
          }
        };
        for (const one of steps) act(one);
        for (const end of [ends.here, ends.there]) {
          end.holding = false;
          end.takeAll();
        }
        pair.settle();
        for (const [from, to] of [
          ['here', 'there'],
          ['there', 'here'],
        ] as const) {
          const got =
            type === 'stream' ? ends[to].pieces : ends[to].messages.map(({ bytes }) => bytes);
          if (connectionOf(ends[from]).closed) throw new Error(`closed: ${ends[from].error}`);
          if (!Buffer.concat(got).equals(Buffer.concat(sent[from]))) {
            throw new Error(
              `${connectionOf(ends[from]).unsentBytes} bytes unsent, or other bytes came`,
            );
          }
          if (type === 'stream') continue;
          const lengths = got.map(({ length }) => length).join();
          if (lengths !== sent[from].map(({ length }) => length).join()) throw new Error('borders');
        }
        const { creditStalls: _, ...counters } = pair.host.statistics();
        if (counters.falseCredit > 0 || counters.packetsSent > 1_000_000)
          throw new Error('chatter');
      }),
      { numRuns: 400, interruptAfterTimeLimit: 20_000 },
    );
  },
);

t.test(
  'T79 a buffer of one byte is enough for a message of four, behind an empty one too',
  async (t) => {
    const pair = new Pair({ connections: { bufferSize: 500 } }, { room: 1 });
    const { here, there } = pair.connect({ type: 'seqpacket' });
    here.holding = true;
    connectionOf(there).send(Buffer.alloc(0));
    connectionOf(there).send(Buffer.from('four'));
    connectionOf(here).setBufferSize(1);
    pair.settle();
    here.holding = false;
    here.takeAll();
    pair.settle();
    t.same(
      here.messages.map(({ bytes }) => `${bytes}`),
      ['', 'four'],
    );
  },
);

t.test('T72 small writes that wait travel in one packet', async (t) => {
  const { peer, user } = scripted();
  peer.open(0);
  const told: number[] = [];
  for (let index = 0; index < 1000; index += 1) {
    connectionOf(user).send(Buffer.from([index]), () => told.push(index));
  }
  peer.all();
  peer.send({ operation: Operation.CREDIT_UPDATE, bufferAllocation: 65_536 });
  const packets = peer.all();
  t.equal(packets.length, 1);
  t.same(packets[0]?.payload, Buffer.from(Uint8Array.from({ length: 1000 }, (_, index) => index)));
  t.same(
    told,
    Array.from({ length: 1000 }, (_, index) => index),
  );
});

t.test(
  'T72 a peer that sends single bytes makes the receiver keep bytes, not objects',
  async (t) => {
    const { peer, user } = scripted();
    user.holding = true;
    peer.open(1000);
    const byte = Buffer.alloc(1, 'x');
    const before = process.memoryUsage().arrayBuffers;
    for (let index = 0; index < 262_144; index += 1) peer.send({ operation: Operation.RW }, byte);
    t.equal(connectionOf(user).untakenBytes, 262_144);
    t.ok(process.memoryUsage().arrayBuffers - before < 400_000);
    user.takeAll();
    t.equal(user.pieces.length, 64, 'blocks of 4 KiB');
  },
);

t.test('T72 bytes of packets of any size come out as they went in', async () => {
  const sizes = fc.array(fc.oneof(fc.integer({ min: 0, max: 40_000 }), fc.constant(1)));
  const units = fc.constantFrom('bytes' as const, 'messages' as const);
  fc.assert(
    fc.property(
      units,
      sizes,
      fc.array(fc.integer({ min: 0, max: 40_000 })),
      (unit, packets, takes) => {
        const queue = new ByteQueue(unit);
        const all: number[] = [];
        const got: number[] = [];
        let value = 0;
        for (const [index, length] of packets.entries()) {
          const bytes = Buffer.from(Uint8Array.from({ length }, () => (value += 1)));
          all.push(...bytes);
          const cut = Math.floor(length / 3);
          queue.append([bytes.subarray(0, cut), bytes.subarray(cut)], length);
          const wanted = Math.min(takes[index] ?? 0, queue.length);
          got.push(...(wanted % 2 === 0 ? queue.take(wanted) : (queue.takePiece() ?? [])));
        }
        for (let piece = queue.takePiece(); piece; piece = queue.takePiece()) got.push(...piece);
        if (queue.length !== 0 || Buffer.compare(Buffer.from(all), Buffer.from(got)) !== 0) {
          throw new Error('other bytes came out');
        }
      },
    ),
    { numRuns: 100 },
  );
});

t.test(
  'T79 a message in many fragments is one message, a long one is refused, too many are too',
  async (t) => {
    const messages = { type: 2, operation: Operation.RW };
    const open = (bufferSize: number) => {
      const endpoint = new VsockEndpoint({
        cid: HOST_CID,
        connections: { bufferSize, maxMessageSize: 1500 },
      });
      endpoint.setFeatures(2n);
      const user = new Recorder();
      endpoint.listen(80, acceptWith(user), 'seqpacket');
      const peer = new ScriptedPeer(endpoint);
      peer.open(1000, 2);
      return { peer, user };
    };
    const whole = open(1000);
    for (const flags of [0, 0, 1, 1, 3]) whole.peer.send({ ...messages, flags }, Buffer.alloc(10));
    whole.peer.send({ ...messages, flags: 1 });
    t.same(
      whole.user.messages.map(({ bytes, endOfRecord }) => [bytes.length, endOfRecord]),
      [
        [30, false],
        [10, false],
        [10, true],
        [0, false],
      ],
    );

    const long = open(1000);
    let credit = 1000;
    let sent = 0;
    const fragment = (bytes: number, flags: number) => {
      if (bytes > credit - sent) throw new Error('no credit');
      sent += bytes;
      long.peer.send({ ...messages, flags }, Buffer.alloc(bytes));
      for (const { header } of long.peer.all())
        credit = header.forwardedCount + header.bufferAllocation;
    };
    fragment(900, 0);
    fragment(600, 1);
    t.equal(long.user.messages[0]?.bytes.length, 1500, 'longer than the buffer, within the limit');
    fragment(900, 0);
    fragment(601, 1);
    t.same(long.user.heard, ['closed ENOBUFS']);

    const many = open(1000);
    many.user.holding = true;
    for (let count = 0; count < 1024; count += 1) many.peer.send({ ...messages, flags: 1 });
    t.same(many.user.heard, []);
    many.peer.send({ ...messages, flags: 1 });
    t.same(many.user.heard, ['closed ENOBUFS'], 'messages without a byte cost no credit');
  },
);
