import t from 'tap';
import {
  COMMON_FEATURES,
  effectiveOffloads,
  GUEST_OFFLOADS,
  HOST_OFFLOADS,
  MAX_QUEUE_PAIRS,
  NET_FEATURE,
  NET_OFFLOADS,
  NullSocket,
  OFFLOAD_NAMES,
  type PacketSocket,
  VhostNet,
} from '../src/index.js';
import { FakeSocket, makeNic } from './support/nic.js';

const EVERY_OFFLOAD = HOST_OFFLOADS | GUEST_OFFLOADS;

/** A backend that writes down what it is told. */
class TellingSocket extends FakeSocket {
  override headerLength = 12;
  readonly accepted: bigint[] = [];
  readonly steered: boolean[] = [];
  readonly offloads;

  constructor(readonly supported = EVERY_OFFLOAD) {
    super();
    this.offloads = { supported, accept: (offloads: bigint) => void this.accepted.push(offloads) };
  }

  setSteering(on: boolean): void {
    this.steered.push(on);
  }
}

const offered = (nic: VhostNet) => nic.offeredFeatures & EVERY_OFFLOAD;

t.test('offload bits are those of the specification', async (t) => {
  const bits = Object.values(NET_OFFLOADS).map((mask) => mask.toString(2).length - 1);
  t.same(bits, [0, 11, 12, 13, 14, 56, 1, 7, 8, 9, 10, 54, 55, 16]);
});

t.test('offloads are offered as far as every backend gives them', async (t) => {
  const { GUEST_CSUM, GUEST_TSO4 } = NET_FEATURE;
  t.equal(offered(new VhostNet({ backends: new TellingSocket() })), EVERY_OFFLOAD);
  const some = new TellingSocket(HOST_OFFLOADS | GUEST_CSUM | GUEST_TSO4);
  const backends = [new TellingSocket(), some];
  t.equal(offered(new VhostNet({ backends })) & GUEST_OFFLOADS, GUEST_CSUM | GUEST_TSO4);
  t.equal(offered(new VhostNet({ backends: new NullSocket() })) & GUEST_OFFLOADS, 0n);
});

t.test('each offload can be switched off, and takes along what depends on it', async (t) => {
  for (const name of OFFLOAD_NAMES) {
    const backends = new TellingSocket();
    const nic = new VhostNet({ backends, offloads: { [name]: false } });
    t.equal(nic.offeredFeatures & NET_OFFLOADS[name], 0n, name);
  }
  const backends = new TellingSocket();
  const without = (...names: readonly (keyof typeof NET_OFFLOADS)[]) =>
    offered(
      new VhostNet({
        backends,
        offloads: Object.fromEntries(names.map((name) => [name, false])),
      }),
    );
  t.equal(without('csum'), GUEST_OFFLOADS);
  t.equal(without('guestCsum'), HOST_OFFLOADS);
  t.equal(without('hostTso4') & NET_FEATURE.HOST_ECN, NET_FEATURE.HOST_ECN, 'TSO6 suffices');
  t.equal(without('hostTso4', 'hostTso6') & NET_FEATURE.HOST_ECN, 0n);
  t.equal(without('guestTso4', 'guestTso6') & NET_FEATURE.GUEST_ECN, 0n);
});

t.test('each offload can be switched on, but not without what it depends on', async (t) => {
  const nic = new VhostNet({
    backends: new NullSocket(),
    offloads: { guestCsum: true, guestUso4: true },
  });
  t.equal(offered(nic) & GUEST_OFFLOADS, NET_FEATURE.GUEST_CSUM | NET_FEATURE.GUEST_USO4);
  t.throws(() => new VhostNet({ offloads: { csum: false, hostUso: true } }), { code: 'EINVAL' });
  t.throws(() => new VhostNet({ offloads: { guestTso4: true, guestCsum: false } }), {
    code: 'EINVAL',
    message: /guestTso4/,
  });
});

t.test('an accepted offload without its base is as good as not accepted', async (t) => {
  const { CSUM, HOST_TSO4, HOST_ECN, GUEST_CSUM, GUEST_ECN, GUEST_TSO6 } = NET_FEATURE;
  t.equal(effectiveOffloads(HOST_TSO4 | HOST_ECN), 0n);
  t.equal(effectiveOffloads(CSUM | HOST_ECN), CSUM);
  t.equal(effectiveOffloads(GUEST_TSO6 | GUEST_ECN), 0n);
  t.equal(effectiveOffloads(GUEST_CSUM | GUEST_ECN), GUEST_CSUM);
  t.equal(effectiveOffloads(EVERY_OFFLOAD | COMMON_FEATURES), EVERY_OFFLOAD);
});

t.test('T54 a backend is told what was negotiated, and that nothing is, after reset', async (t) => {
  const socket = new TellingSocket();
  const { nic, setUp, run } = makeNic({ backends: socket });
  setUp(NET_FEATURE.GUEST_CSUM | NET_FEATURE.GUEST_ECN | COMMON_FEATURES);
  t.same(socket.accepted, [], 'nothing before a queue runs');
  run();
  t.equal(socket.accepted.at(-1), NET_FEATURE.GUEST_CSUM);
  nic.setFeatures(NET_FEATURE.GUEST_CSUM | NET_FEATURE.GUEST_TSO4);
  t.equal(socket.accepted.at(-1), NET_FEATURE.GUEST_CSUM | NET_FEATURE.GUEST_TSO4);
  nic.runQueue(0, 'stopped');
  t.not(socket.accepted.at(-1), 0n, 'the other queue still runs');
  nic.runQueue(1, 'stopped');
  t.equal(socket.accepted.at(-1), 0n);
  run();
  t.not(socket.accepted.at(-1), 0n);
  await nic.reset();
  t.equal(socket.accepted.at(-1), 0n);
});

t.test('T54 a backend is told no more than it has said that it can', async (t) => {
  const socket = new TellingSocket(NET_FEATURE.GUEST_CSUM);
  const options = { backends: socket, offloads: { guestTso4: true } };
  const { setUp, run } = makeNic(options);
  setUp(NET_FEATURE.GUEST_CSUM | NET_FEATURE.GUEST_TSO4);
  run();
  t.equal(socket.accepted.at(-1), NET_FEATURE.GUEST_CSUM);
});

t.test('T58 frames are steered to a backend while its receive queue runs', async (t) => {
  const socket = new TellingSocket();
  const { nic, setUp, run } = makeNic({ backends: socket });
  t.same(socket.steered, [false]);
  setUp();
  run();
  t.equal(socket.steered.at(-1), true);
  nic.runQueue(0, 'discarding');
  t.equal(socket.steered.at(-1), false);
  nic.runQueue(0, 'running');
  t.equal(socket.steered.at(-1), true);
  await nic.reset();
  t.equal(socket.steered.at(-1), false);
});

t.test('T58 a NIC has up to 16 pairs, and says so to the guest', async (t) => {
  const sockets = (count: number): PacketSocket[] =>
    Array.from({ length: count }, () => new NullSocket());
  const both = NET_FEATURE.MQ | NET_FEATURE.CTRL_VQ;
  t.equal(new VhostNet({ backends: sockets(1) }).offeredFeatures & both, 0n);
  const nic = new VhostNet({ backends: sockets(MAX_QUEUE_PAIRS) });
  t.equal(nic.offeredFeatures & both, both);
  t.equal(nic.queueCount, 32);
  t.equal(nic.advertisedQueues, 16);
  t.same(nic.config.read(8, 2), [16, 0]);
  t.throws(() => new VhostNet({ backends: sockets(17) }), { code: 'EINVAL' });
});
