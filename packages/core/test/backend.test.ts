import fc from 'fast-check';
import { Container, ContainerModule } from 'inversify';
import t from 'tap';
import {
  BACKEND,
  BACKEND_CHAIN,
  BACKEND_PROVIDER,
  BackendChain,
  type BackendProvider,
  BackendRefusal,
  coreModule,
  DEVICE,
  link,
  loopback,
  NET_OPTIONS,
  NO_FEATURES,
  NullSocket,
  netModule,
  PacketBatch,
  type PacketSocket,
  SPLIT_VIRTQUEUES,
  VhostError,
  VhostNet,
} from '../src/index.js';
import { FakeSocket, frame, ManualTurns, makeNic } from './support/nic.js';
import { RingMemory } from './support/ring-memory.js';

const FEATURES = NO_FEATURES;

/** A batch of frames in real ring memory, as a transmit queue would hand it over. */
function transmitBatch(frames: readonly Uint8Array[]): PacketBatch {
  const ring = new RingMemory(256);
  let at = 0;
  for (const [index, bytes] of frames.entries()) {
    ring.data(at, bytes.length).set(bytes);
    ring.descriptor(index, { at, length: bytes.length });
    ring.offer(index);
    at += bytes.length;
  }
  const batch = new PacketBatch();
  SPLIT_VIRTQUEUES.create(ring.memory().table, ring.addresses, 256, FEATURES, 0).takeReadable(
    batch,
    256,
    0,
    0,
  );
  return batch;
}

/** Empty buffers, as a receive queue would hand them over. */
function receiveBatch(count: number, length: number) {
  const ring = new RingMemory(256);
  for (let index = 0; index < count; index += 1) {
    ring.descriptor(index, { at: index * length, length, flags: 2 });
    ring.offer(index);
  }
  const batch = new PacketBatch();
  SPLIT_VIRTQUEUES.create(ring.memory().table, ring.addresses, 256, FEATURES, 0).takeWritable(
    batch,
    256,
    0,
    0,
  );
  return { batch, read: (n: number) => ring.data(n * length, batch.frameLengths[n] as number) };
}

t.test(
  'a link carries every frame in order, whatever its store holds and whoever waits',
  async (t) => {
    fc.assert(
      fc.property(
        fc.array(
          fc.record({
            send: fc.array(fc.integer({ min: 1, max: 400 }), { maxLength: 6 }),
            receive: fc.nat(5),
          }),
          { maxLength: 30 },
        ),
        fc.integer({ min: 800, max: 4000 }),
        fc.integer({ min: 1, max: 8 }),
        (steps, bytes, frames) => {
          const [left, right] = link({ turns: new ManualTurns(), bytes, frames });
          const waiting: Uint8Array[] = [];
          const expected: Uint8Array[] = [];
          const received: Uint8Array[] = [];
          let number = 0;
          const take = (count: number) => {
            const { batch, read } = receiveBatch(count, 400);
            const filled = right.receive(batch);
            for (let n = 0; n < filled; n += 1) received.push(Uint8Array.from(read(n)));
            return filled;
          };
          const send = () => {
            const sent = left.send(transmitBatch(waiting), 0);
            waiting.splice(0, sent);
            return sent;
          };
          for (const step of steps) {
            for (const length of step.send) {
              const bytesOf = frame(number++ & 0xff, length);
              waiting.push(bytesOf);
              expected.push(bytesOf);
            }
            if (waiting.length > 0) send();
            if (step.receive > 0) take(step.receive);
          }
          for (let round = 0; round < 1000 && received.length < expected.length; round += 1) {
            if (waiting.length > 0) send();
            take(3);
          }
          return Buffer.concat(received).equals(Buffer.concat(expected));
        },
      ),
      { numRuns: 300 },
    );
    t.pass('any interleaving');
  },
);

t.test(
  'a link tells when it can be read and written again, and ends when it is closed',
  async (t) => {
    const turns = new ManualTurns();
    const [left, right] = link({ turns, frames: 2 });
    const seen: string[] = [];
    const reading = right.readable$.subscribe(() => seen.push('readable'));
    t.equal(left.send(transmitBatch([frame(1), frame(2), frame(3)]), 0), 2, 'full after two');
    left.writable$.subscribe({
      next: () => seen.push('writable'),
      complete: () => seen.push('end'),
    });
    t.same(seen, [], 'never inside the call');
    turns.turn();
    turns.turn();
    t.same(seen, ['readable', 'readable'], 'level-triggered, once a turn');
    reading.unsubscribe();
    turns.turn();
    const { batch } = receiveBatch(1, 100);
    t.equal(right.receive(batch), 1);
    turns.turn();
    t.ok(seen.includes('writable'));
    right.close();
    t.equal(seen.at(-1), 'end');
  },
);

t.test('a loopback gives back what it was sent, oversized frames aside', async (t) => {
  const socket = loopback();
  socket.send(transmitBatch([frame(1), frame(2, 300), frame(3)]), 0);
  const { batch, read } = receiveBatch(8, 100);
  t.equal(socket.receive(batch), 2);
  t.same(
    [read(0), read(1)].map((bytes) => [...bytes]),
    [[...frame(1)], [...frame(3)]],
  );
  t.equal(batch.oversized, 1);
});

t.test('the null backend takes everything and gives nothing', async (t) => {
  const socket = new NullSocket();
  const batch = transmitBatch([frame(1), frame(2)]);
  t.equal(socket.send(batch, 0), 2);
  t.same([batch.results[0], batch.results[1]], [60, 60]);
  t.equal(socket.receive(), 0);
});

const provider = (name: string, fds: readonly number[], asked: string[]): BackendProvider => ({
  name,
  open(fd) {
    asked.push(name);
    if (!fds.includes(fd)) return new BackendRefusal(new VhostError('ENOTSOCK', `${name}: no`));
    return new FakeSocket();
  },
});

t.test('C10 providers are asked in order until one takes the fd', async (t) => {
  const asked: string[] = [];
  const chain = new BackendChain([
    provider('raw', [3], asked),
    provider('tap', [4, 5], asked),
    provider('macvtap', [5, 6], asked),
  ]);
  t.type(chain.open(5), FakeSocket);
  t.same(asked, ['raw', 'tap']);
  t.throws(() => chain.open(9), { code: 'ENOTSOCK', cause: { errors: { length: 3 } } });
  t.throws(() => new BackendChain([]).open(9), { code: 'ENOTSOCK' });
  const throwing: BackendProvider = {
    name: 'broken',
    open() {
      throw new VhostError('EMFILE', 'no more files');
    },
  };
  t.throws(() => new BackendChain([throwing]).open(9), { code: 'EMFILE' }, 'not a refusal');
});

t.test(
  'C10 the chain is the order of binding, and a user’s provider is one more module',
  async (t) => {
    const asked: string[] = [];
    const module = (name: string, fds: number[]) =>
      new ContainerModule(({ bind }) => {
        bind<BackendProvider>(BACKEND_PROVIDER).toConstantValue(provider(name, fds, asked));
      });
    const container = new Container();
    container.load(coreModule, module('raw', [3]), module('tap', [4]), module('macvtap', [5]));
    container.load(module('user', [7]));
    const chain = container.get<BackendChain>(BACKEND_CHAIN);
    t.same(
      chain.providers.map(({ name }) => name),
      ['raw', 'tap', 'macvtap', 'user'],
    );
    t.type(chain.open(7), FakeSocket);
    t.same(asked, ['raw', 'tap', 'macvtap', 'user']);
  },
);

t.test(
  'C9 C10 setBackend with an fd opens through the chain and closes what it opened',
  async (t) => {
    const opened: PacketSocket[] = [];
    const chain = new BackendChain([
      {
        name: 'tap',
        open(fd) {
          if (fd !== 4 && fd !== 5) return new BackendRefusal(new VhostError('ENOTSOCK', 'no'));
          const socket = new FakeSocket();
          opened.push(socket);
          return socket;
        },
      },
    ]);
    const { nic, setUp, turns } = makeNic({ providers: chain });
    setUp();
    const set = async (backend: number) => {
      const done = nic.setBackend(1, backend);
      turns.settle();
      await done;
    };
    await set(4);
    await set(5);
    t.same(
      opened.map((socket) => (socket as FakeSocket).closed),
      [1, 0],
      'the old one, once',
    );
    await t.rejects(nic.setBackend(1, 9), { code: 'ENOTSOCK' });
    t.equal((opened[1] as FakeSocket).closed, 0);
    await set(-1);
    t.equal((opened[1] as FakeSocket).closed, 1);
    await set(4);
    const reset = nic.resetOwner();
    turns.settle();
    await reset;
    t.equal((opened[2] as FakeSocket).closed, 1);
  },
);

t.test(
  'a container wires a NIC from its bindings; each service can also be made by hand',
  async (t) => {
    const container = new Container();
    const socket = new FakeSocket();
    container.load(coreModule, netModule);
    container.bind(NET_OPTIONS).toConstantValue({ mtu: 1400 });
    container.bind<PacketSocket>(BACKEND).toConstantValue(socket);
    container.bind<PacketSocket>(BACKEND).toConstantValue(new FakeSocket());
    const nic = container.get(VhostNet);
    t.equal(container.get(DEVICE), nic);
    t.equal(nic.queueCount, 4);
    t.equal(nic.config.mtu, 1400);
    await nic.close();
    t.equal(socket.closed, 1);
    const bare = new Container();
    bare.load(coreModule, netModule);
    t.equal(bare.get(VhostNet).queueCount, 2);
  },
);
