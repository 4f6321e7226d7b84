/** A NIC's state as bytes: what goes in comes out, and what is broken is told. */
import fc from 'fast-check';
import t from 'tap';
import {
  FEATURE,
  MAX_STATE_BYTES,
  NET_FEATURE,
  type NetState,
  readNetState,
  StateReader,
  StateWriter,
  VhostError,
  VhostNet,
  writeNetState,
} from '../src/index.js';
import type { ControlState } from '../src/net/control/control-state.js';
import { NicControl } from '../src/net/control/nic-control.js';
import { NetConfigSpace } from '../src/net/net-config.js';
import { SUPPORTED_HASH_TYPES } from '../src/net/steering/flow-hash.js';
import { ManualTurns } from './support/nic.js';

const MAC = Uint8Array.of(2, 0, 0, 0, 0, 1);
const PAIRS = 4;
const NIC = { pairs: PAIRS, configSize: 24 };
const CONTROLLED =
  NET_FEATURE.CTRL_VQ |
  NET_FEATURE.CTRL_RX |
  NET_FEATURE.CTRL_VLAN |
  NET_FEATURE.MQ |
  NET_FEATURE.RSS |
  NET_FEATURE.HASH_REPORT |
  NET_FEATURE.CTRL_GUEST_OFFLOADS |
  NET_FEATURE.GUEST_CSUM |
  NET_FEATURE.GUEST_TSO4 |
  NET_FEATURE.GUEST_ANNOUNCE |
  NET_FEATURE.MAC;

function newControl(): { control: NicControl; config: NetConfigSpace } {
  const config = new NetConfigSpace(MAC, PAIRS, undefined, true);
  return { control: new NicControl(PAIRS, config, new ManualTurns(), () => {}), config };
}

const address = fc
  .uint8Array({ minLength: 6, maxLength: 6 })
  .map((bytes) => bytes.map((byte, at) => (at === 0 ? byte & 0xfe : byte)));
const addresses = fc
  .array(address, { maxLength: 70 })
  .map((list) => Uint8Array.from(list.flatMap((mac) => [...mac])));
const pair = fc.nat(PAIRS - 1);
const hash = fc.record({
  types: fc.nat(SUPPORTED_HASH_TYPES),
  key: fc.uint8Array({ maxLength: 40 }),
});

/** Something that a driver says on the control queue. */
const word: fc.Arbitrary<(control: NicControl) => void> = fc.oneof(
  fc
    .record({
      promiscuous: fc.boolean(),
      allMulticast: fc.boolean(),
      noUnicast: fc.boolean(),
      noBroadcast: fc.boolean(),
    })
    .map((switches) => (control: NicControl) => {
      Object.assign(control.filter.switches, switches);
      control.filterChanged();
    }),
  fc.tuple(addresses, addresses).map(([unicast, multicast]) => (control: NicControl) => {
    control.filter.setTable(unicast, multicast);
  }),
  fc.nat(4095).map((vlan) => (control: NicControl) => {
    control.filter.setVlan(vlan, true);
  }),
  address.map((mac) => (control: NicControl) => {
    control.setMac(mac);
  }),
  fc.integer({ min: 1, max: PAIRS }).map((pairs) => (control: NicControl) => {
    control.setActivePairs(pairs);
  }),
  fc
    .record({ hash, unclassified: pair, size: fc.nat(7), first: pair })
    .map(({ hash, unclassified, size, first }) => (control: NicControl) => {
      const indirection = Uint16Array.from({ length: 1 << size }, (_, at) => (at + first) % PAIRS);
      control.setRss({ ...hash, unclassified, indirection });
    }),
  hash.map((config) => (control: NicControl) => {
    control.setHash(config);
  }),
  fc
    .constantFrom(0n, NET_FEATURE.GUEST_CSUM, NET_FEATURE.GUEST_CSUM | NET_FEATURE.GUEST_TSO4)
    .map((offloads) => (control: NicControl) => {
      control.setGuestOffloads(offloads);
    }),
  fc.constant((control: NicControl) => {
    control.announce();
  }),
);

function stateOf(control: ControlState, features = CONTROLLED): NetState {
  return { ...NIC, features, mac: MAC, mtu: 1500, control };
}

/** The control state of a NIC that nobody has told anything. */
function quiet(): ControlState {
  const { control } = newControl();
  control.reset(CONTROLLED);
  control.start();
  return control.save();
}

/** What reading throws; undefined when it is read. */
function refusal(bytes: Uint8Array): string | undefined {
  try {
    readNetState(bytes, NIC);
    return undefined;
  } catch (error) {
    if (error instanceof VhostError) return error.code;
    throw error;
  }
}

t.test('what a driver has said is the same after saving and loading', async (t) => {
  fc.assert(
    fc.property(fc.array(word, { maxLength: 12 }), (words) => {
      const source = newControl();
      source.control.reset(CONTROLLED);
      source.control.start();
      for (const say of words) say(source.control);
      const saved = source.control.save();
      const read = readNetState(writeNetState(stateOf(saved)), NIC);
      const target = newControl();
      target.control.load(read.control, read.features);
      target.control.reset(CONTROLLED | FEATURE.LOG_ALL);
      target.control.start();
      t.same(target.control.save(), saved);
      t.equal(target.control.usedFeatures, source.control.usedFeatures | FEATURE.LOG_ALL);
      for (let pair = 0; pair < PAIRS; pair += 1) {
        t.equal(target.control.uses(pair), source.control.uses(pair));
      }
    }),
    { numRuns: 100 },
  );
});

t.test('a loaded state is dropped when other features are negotiated after all', async (t) => {
  const source = newControl();
  source.control.reset(CONTROLLED);
  source.control.start();
  source.control.setActivePairs(3);
  const target = newControl();
  target.control.load(source.control.save(), CONTROLLED);
  target.control.reset(CONTROLLED & ~NET_FEATURE.RSS);
  target.control.reset(CONTROLLED);
  target.control.start();
  t.equal(target.control.save().activePairs, 1);
});

t.test('each broken byte and each missing one is told', async (t) => {
  const whole = writeNetState(stateOf(quiet()));
  t.equal(refusal(whole), undefined);
  t.ok(whole.length < MAX_STATE_BYTES / 100);
  for (let at = 0; at < whole.length; at += 1) {
    const flipped = whole.slice();
    flipped[at] = (flipped[at] as number) ^ (1 << (at % 8));
    if (refusal(flipped) !== 'EINVAL') t.fail(`byte ${at} flipped`);
    if (refusal(whole.slice(0, at)) !== 'EINVAL') t.fail(`cut off at ${at}`);
  }
  t.equal(refusal(Uint8Array.of(...whole, 0)), 'EINVAL', 'one byte too many');
});

t.test(
  'a state that is whole but makes no sense is refused, and never breaks anything',
  async (t) => {
    let accepted = 0;
    const head = (writer: StateWriter): void => {
      writer.u64(CONTROLLED);
      writer.u16(PAIRS);
      writer.u16(NIC.configSize);
    };
    const anything = fc.uint8Array({ maxLength: 1000 });
    const likely = fc.uint8Array({ min: 0, max: 2, maxLength: 1000 });
    fc.assert(
      fc.property(fc.oneof(anything, likely), (bytes) => {
        const writer = new StateWriter();
        head(writer);
        writer.bytes(bytes);
        const code = refusal(writer.finish({ device: 1, version: 1 }));
        if (code === undefined) accepted += 1;
        else if (code !== 'EINVAL') throw new Error(code);
      }),
      { numRuns: 2000 },
    );
    t.comment(`${accepted} made sense`);
    const broken: [string, Partial<ControlState>][] = [
      ['no pair', { activePairs: 0 }],
      ['too many pairs', { activePairs: PAIRS + 1 }],
      ['a hash nobody knows', { hash: { types: 0x8000, key: new Uint8Array(4) } }],
      ['a key that is too long', { hash: { types: 1, key: new Uint8Array(41) } }],
      [
        'a queue that there is not',
        {
          rss: { types: 1, key: MAC, unclassified: 0, indirection: Uint16Array.of(0, PAIRS) },
        },
      ],
      [
        'a table of three',
        { rss: { types: 1, key: MAC, unclassified: 0, indirection: new Uint16Array(3) } },
      ],
      [
        'an empty table',
        { rss: { types: 1, key: MAC, unclassified: 0, indirection: new Uint16Array(0) } },
      ],
    ];
    for (const [what, change] of broken) {
      t.equal(refusal(writeNetState(stateOf({ ...quiet(), ...change }))), 'EINVAL', what);
    }
  },
);

t.test('states of other devices, versions and NICs are refused', async (t) => {
  const writer = new StateWriter();
  writer.u8(1);
  const kind = { device: 19, version: 2 };
  const state = writer.finish(kind);
  t.equal(new StateReader(state, kind).u8(), 1);
  for (const other of [
    { device: 1, version: 2 },
    { device: 19, version: 1 },
  ]) {
    t.throws(() => new StateReader(state, other), { code: 'EINVAL' });
  }
  const reader = new StateReader(state, kind);
  t.throws(() => reader.end(), { code: 'EINVAL' }, 'a rest');
  t.throws(() => reader.u64(), { code: 'EINVAL' }, 'not so much');
  const bytes = writeNetState(stateOf(quiet()));
  t.throws(() => readNetState(bytes, { ...NIC, pairs: 2 }), { code: 'EINVAL' });
  t.throws(() => readNetState(bytes, { ...NIC, configSize: 12 }), { code: 'EINVAL' });
});

t.test(
  'a NIC takes the state of one that it can stand in for, and shows it to the driver',
  async (t) => {
    const other = Uint8Array.of(2, 0, 0, 0, 0, 9);
    const source = new VhostNet({ mac: MAC, mtu: 1400 });
    t.throws(() => source.saveState(), { code: 'EPERM' }, 'nobody owns it');
    source.setOwner();
    source.setFeatures(FEATURE.VERSION_1 | NET_FEATURE.MAC | NET_FEATURE.MTU);
    const state = source.saveState();

    const target = new VhostNet({ mac: other, mtu: 9000 });
    target.setOwner();
    target.loadState(state);
    t.strictSame([...target.config.read(0, 6)], [...MAC]);
    t.equal(target.config.mtu, 1400);
    await target.reset();
    t.strictSame(
      [...target.config.read(0, 6)],
      [...other],
      'the next guest sees what it was made with',
    );
    t.equal(target.config.mtu, 9000);

    for (const [what, nic] of [
      ['without an MTU', new VhostNet({ mac: other })],
      ['with a smaller one', new VhostNet({ mac: other, mtu: 1300 })],
      ['with a control queue', new VhostNet({ mac: other, mtu: 9000, controlQueue: true })],
    ] as const) {
      nic.setOwner();
      t.throws(() => nic.loadState(state), { code: 'EINVAL' }, what);
      t.strictSame([...nic.config.read(0, 6)], [...other], 'and nothing has changed');
      await nic.close();
    }
    await source.close();
    await target.close();
  },
);
