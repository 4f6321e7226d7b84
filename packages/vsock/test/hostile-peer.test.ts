import { setImmediate as turn } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { VhostError } from '@rxvhost/core';
import t from 'tap';
import {
  type Acceptor,
  type ConnectionRequest,
  HOST_CID,
  Operation,
  PacketHeader,
  type PayloadSink,
  VsockEndpoint,
  VsockFeature,
} from '../src/index.js';
import { acceptWith, GUEST_CID, ManualScheduler } from './support/pair.js';
import { Recorder } from './support/recorder.js';
import { ScriptedPeer } from './support/scripted-peer.js';

t.setTimeout(120_000);

const PACKETS = 1_000_000;
const MAX_CONNECTIONS = 48;
const BUFFER_SIZE = 16 * 1024;
const REPLY_LIMIT = 256;
/** As the endpoint states it: a buffer, a message and borders for each connection, and the replies. */
const MEMORY_BOUND = MAX_CONNECTIONS * (3 * BUFFER_SIZE + 8192) + 100 * REPLY_LIMIT;

/** Numbers that look random and come again with the same seed (mulberry32). */
function random(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * below);
  };
}

/** Bytes that are in use, with garbage collected. */
function memoryUsed(): number {
  setFlagsFromString('--expose-gc');
  runInNewContext('gc')();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}

/** Accepts most, refuses some, and forgets some; users read or do not, close or do not. */
class MoodyListener implements Acceptor {
  readonly users = new Set<Recorder>();
  readonly forgotten: ConnectionRequest[] = [];
  accepted = 0;

  constructor(private readonly pick: (below: number) => number) {}

  request(request: ConnectionRequest): void {
    const mood = this.pick(20);
    if (mood === 0) {
      request.refuse();
    } else if (mood === 1) {
      this.forgotten.push(request);
    } else {
      const user = new Recorder();
      user.holding = mood < 10;
      user.connection = request.accept(user);
      this.users.add(user);
      this.accepted += 1;
    }
  }

  /** Somebody reads, sends, ends, closes or gives up. */
  live(): void {
    for (const user of this.users) {
      user.pieces.length = 0;
      user.messages.length = 0;
      user.heard.length = 0;
      const { connection } = user;
      const mood = this.pick(30);
      if (connection === undefined || (connection.closed && mood > 3)) {
        connection?.abort();
        this.users.delete(user);
      } else if (mood < 10) user.takeAll();
      else if (mood < 14) this.#send(user);
      else if (mood === 14) connection.end();
      else if (mood === 15) connection.close();
      else if (mood === 16) connection.abort();
      else if (mood === 17) connection.setBufferSize(1 + this.pick(BUFFER_SIZE));
    }
    for (const request of this.forgotten.splice(0)) request.refuse();
  }

  #send({ connection }: Recorder): void {
    if (connection === undefined || connection.unsentBytes > BUFFER_SIZE) return;
    try {
      connection.send(Buffer.alloc(this.pick(2000)));
    } catch {
      // It was ended, by either side.
    }
  }
}

t.test(
  'T78 D9 a million random packets: nothing throws, memory stays bounded, others are served',
  async (t) => {
    const seed = Date.now() >>> 0;
    t.comment(`seed ${seed}`);
    const pick = random(seed);
    const time = new ManualScheduler();
    const endpoint = new VsockEndpoint({
      cid: HOST_CID,
      peerCid: GUEST_CID,
      maxConnections: MAX_CONNECTIONS,
      scheduler: time,
      connections: { bufferSize: BUFFER_SIZE, maxMessageSize: BUFFER_SIZE },
    });
    endpoint.setFeatures(VsockFeature.SEQPACKET);
    const listener = new MoodyListener(pick);
    for (let port = 0; port < 4; port += 1) {
      endpoint.listen(port, listener, port < 3 ? 'stream' : 'seqpacket');
    }

    const open = new Set<string>();
    endpoint.events$.subscribe((event) => {
      if (event.kind === 'transport-reset') return;
      const key = `${event.remote.port} ${event.local.port}`;
      if (event.kind === 'opening') open.add(key);
      else open.delete(key);
    });
    const header = new PacketHeader();
    const outgoing = new PacketHeader();
    const sink: PayloadSink = { write() {} };
    const payload = Buffer.alloc(65_536, 'p');
    const odd = [0, 1, 2, 3, 0xffff, 0x8000_0000, 0xffff_fffe, 0xffff_ffff];
    const among = (values: readonly number[]) => values[pick(values.length)] as number;
    const mostly = (usual: number, values: readonly number[]) =>
      pick(50) === 0 ? among(values) : usual;
    const lengths = [0, 1, 4, 10, 100, 100, 1000, 4096];
    const long = [16_384, 65_536];
    const usual = [5, 5, 5, 5, 5, 5, 6, 7];
    const unusual = [0, 1, 2, 3, 4, 8, 0xffff];

    let mostOpen = 0;
    let mostReplies = 0;
    let mostKept = 0;
    let heapBefore = 0;
    for (let packet = 0; packet < PACKETS; packet += 1) {
      header.sourceCid = mostly(GUEST_CID, [...odd, 2 ** 32 + GUEST_CID, 2 ** 63]);
      header.destinationCid = mostly(HOST_CID, [...odd, 2 ** 40]);
      header.sourcePort = mostly(pick(20), odd);
      header.destinationPort = mostly(pick(5), odd);
      header.type = mostly(header.destinationPort === 3 ? 2 : 1, [0, 2, 3, 0xffff]);
      // Mostly what makes sense, so that connections live long enough to be abused.
      const known = open.has(`${header.sourcePort} ${header.destinationPort}`);
      header.operation = mostly(known ? among(usual) : Operation.REQUEST, unusual);
      header.flags = pick(4) === 0 ? among(odd) : pick(4);
      header.bufferAllocation = pick(3) === 0 ? among(odd) : pick(100_000);
      header.forwardedCount = pick(3) === 0 ? among(odd) : pick(10_000);
      const length =
        header.operation === Operation.RW ? mostly(among(lengths), long) : mostly(0, lengths);
      header.length = length;
      const cut = pick(length + 1);
      endpoint.receive(header, [payload.subarray(0, cut), payload.subarray(cut, length)]);

      // The carrier stops at the limit, as a device does; a peer that never reads is one of the moods.
      const reads = Math.floor(packet / 10_000) % 3 > 0;
      const drain = () => endpoint.next(outgoing, pick(8192), sink);
      if (reads) for (let more = pick(6); more > 0 && drain(); more -= 1);
      while (endpoint.queuedReplies >= REPLY_LIMIT && drain());
      if (packet % 64 === 0) listener.live();
      if (packet % 5000 === 0) time.advance(pick(5000));
      if (packet % 1000 === 0) {
        let kept = 0;
        for (const { connection } of listener.users) kept += connection?.untakenBytes ?? 0;
        mostOpen = Math.max(mostOpen, endpoint.counters.open);
        mostReplies = Math.max(mostReplies, endpoint.queuedReplies);
        mostKept = Math.max(mostKept, kept);
      }
      if (packet === 100_000) heapBefore = memoryUsed();
      if (packet % 50_000 === 0) await turn();
    }

    t.ok(mostOpen <= MAX_CONNECTIONS, `${mostOpen} connections at most`);
    t.ok(mostReplies <= REPLY_LIMIT, `${mostReplies} replies at most`);
    t.ok(mostKept <= MEMORY_BOUND, `${mostKept} bytes kept at most, of ${MEMORY_BOUND}`);
    t.ok(listener.accepted > 1000, `${listener.accepted} connections were accepted`);
    const counters = endpoint.statistics();
    for (const reason of ['refused', 'unknown', 'type', 'limit', 'protocol', 'overrun'] as const) {
      t.ok(counters.resetsSent[reason] > 0, `${counters.resetsSent[reason]} resets: ${reason}`);
    }
    t.ok(counters.drops.source > 0 && counters.drops.destination > 0);

    endpoint.reset(new VhostError('ECONNRESET', 'over'));
    for (let round = 0; round < 100 && listener.users.size > 0; round += 1) listener.live();
    t.equal(endpoint.counters.open, 0, 'nothing is left of it all');
    t.equal(time.pending, 0, 'no timer either');
    memoryUsed(); // buffers go a turn after what refers to them
    await turn();
    const grown = memoryUsed() - heapBefore;
    t.ok(grown < 20_000_000, `${grown} bytes more in use than after a tenth of the packets`);
    const user = new Recorder();
    endpoint.listen(80, acceptWith(user));
    const peer = new ScriptedPeer(endpoint);
    peer.open(1000);
    peer.send({ operation: Operation.RW }, Buffer.from('hello'));
    t.equal(user.text, 'hello', 'an honest peer is served');
  },
);

t.test('T78 what does not belong anywhere is answered with an RST, an RST never', async (t) => {
  const endpoint = new VsockEndpoint({ cid: HOST_CID, peerCid: GUEST_CID });
  const user = new Recorder();
  endpoint.listen(80, acceptWith(user));
  const peer = new ScriptedPeer(endpoint);
  const answers = (fields: Partial<PacketHeader>, payload?: Buffer) => {
    peer.send(fields, payload);
    return peer.all().map(({ header }) => header);
  };
  const [first] = answers({ operation: Operation.RW, type: 77 }, Buffer.alloc(3));
  t.match(first, {
    operation: Operation.RST,
    type: 77,
    length: 0,
    sourceCid: HOST_CID,
    destinationCid: GUEST_CID,
    sourcePort: 80,
    destinationPort: 5000,
  });
  for (const operation of [0, 2, 4, 5, 6, 7, 8, 0xffff]) {
    t.match(answers({ operation }), [{ operation: Operation.RST }], `operation ${operation}`);
  }
  t.same(answers({ operation: Operation.RST }), []);
  t.same(answers({ operation: Operation.RST, type: 77 }), []);
  t.match(
    answers({ operation: Operation.REQUEST, type: 2 }),
    [{ operation: Operation.RST }],
    'not negotiated',
  );
  t.same(
    answers({ operation: Operation.REQUEST, sourceCid: 43 }),
    [],
    'a guest that says to be another',
  );
  t.same(answers({ operation: Operation.REQUEST, sourceCid: 2 ** 32 + GUEST_CID }), []);
  t.same(answers({ operation: Operation.REQUEST, destinationCid: 3 }), []);
  t.same(endpoint.statistics().drops, {
    source: 2,
    destination: 1,
    reset: 2,
    afterShutdown: 0,
    replies: 0,
  });
  peer.open(1000);
  t.match(answers({ operation: Operation.RW, type: 2 }, Buffer.alloc(1)), [
    { operation: 3, type: 2 },
  ]);
  t.notOk(user.connection?.closed, 'the connection of the right type has nothing to do with it');
  t.match(answers({ operation: Operation.REQUEST }), [{ operation: Operation.RST }]);
  t.same(user.heard, ['closed EPROTO']);
});

t.test(
  'T73 an endpoint whose carrier goes on regardless bounds its replies by itself',
  async (t) => {
    const endpoint = new VsockEndpoint({ cid: HOST_CID, maxReplies: 100 });
    const peer = new ScriptedPeer(endpoint);
    for (let port = 0; port < 150; port += 1) {
      peer.send({ operation: Operation.REQUEST, sourcePort: port });
    }
    t.equal(endpoint.queuedReplies, 100);
    t.equal(endpoint.statistics().drops.replies, 50);
    t.equal(peer.all().length, 100);
  },
);

t.test('T73 a connection whose payload fits no buffer does not hold up what does', async (t) => {
  const endpoint = new VsockEndpoint({ cid: HOST_CID });
  const user = new Recorder();
  endpoint.listen(80, acceptWith(user));
  const [first, second] = [new ScriptedPeer(endpoint, 1), new ScriptedPeer(endpoint, 2)];
  first.open(1000);
  user.connection?.send(Buffer.alloc(500));
  second.send({ operation: Operation.REQUEST });
  const packets = first.all(0);
  t.match(packets, [{ header: { operation: Operation.RESPONSE, destinationPort: 2 } }]);
  t.ok(endpoint.sendable, 'the payload waits for room');
  t.equal(first.all(300).length, 2);
});

t.test('connections take turns', async (t) => {
  const endpoint = new VsockEndpoint({ cid: HOST_CID });
  const peers = [1, 2, 3].map((port) => new ScriptedPeer(endpoint, port));
  endpoint.listen(80, {
    request(request) {
      request.accept(new Recorder())?.send(Buffer.alloc(300));
    },
  });
  for (const peer of peers) {
    peer.send({ operation: Operation.REQUEST, bufferAllocation: 1000 });
  }
  const order = (peers[0] as ScriptedPeer).all(100).map(({ header }) => header.destinationPort);
  t.same(order, [1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3], 'an answer, and three packets each');
});
