/** The control queue from the guest's side: what a driver asks for, and what it then receives. */
import { ArrayBufferMapping, link } from '@rxvhost/core';
import t from 'tap';
import {
  ControlCommand,
  type GuestNicOptions,
  hashConfig,
  macTable,
  NetFeature,
  offloadBits,
  rssConfig,
  word,
} from '../src/index.js';
import { MODERN, type PluggedNic, plugged, turn, until } from './support/nics.js';

const MAC = Uint8Array.of(2, 0, 0, 0, 0, 1);
const {
  CTRL_VQ,
  CTRL_RX,
  CTRL_RX_EXTRA,
  CTRL_VLAN,
  CTRL_MAC_ADDR,
  CTRL_GUEST_OFFLOADS,
  GUEST_ANNOUNCE,
  HASH_REPORT,
  MQ,
  RSS,
} = NetFeature;
const CONTROLLED = MODERN | NetFeature.MAC | CTRL_VQ;

/** A guest with a control queue, and the far ends of the cables that its pairs are plugged into. */
function controlled(features: bigint, pairs = 1, options: Partial<GuestNicOptions> = {}) {
  const cables = Array.from({ length: pairs }, () => link());
  const guest = plugged(
    cables.map(([end]) => end),
    { features: CONTROLLED | features, pairs, controlQueue: true, queueSize: 64, ...options },
    { mac: MAC, controlQueue: true },
  );
  const far = cables.map(([, end]) => plugged(end, { queueSize: 64 }));
  const { control } = guest.nic;
  if (control === undefined) throw new Error('no control queue');
  const close = async () => {
    await guest.close();
    for (const peer of far) await peer.close();
  };
  return { ...guest, control, far, close };
}

const peer = (far: readonly PluggedNic[], index = 0): PluggedNic => {
  const found = far[index];
  if (found === undefined) throw new Error(`no peer ${index}`);
  return found;
};

/** A frame to `destination`, told from others by its last byte. */
function frameTo(destination: readonly number[], mark: number, vlan?: number): Uint8Array {
  const frame = new Uint8Array(60);
  frame.set(destination);
  frame.set(
    vlan === undefined ? [0x88, 0xb5] : [0x81, 0x00, vlan >> 8, vlan & 0xff, 0x88, 0xb5],
    12,
  );
  frame[59] = mark;
  return frame;
}

const OWN = [...MAC];
const OTHER = [2, 0, 0, 0, 0, 9];
const GROUP = [1, 0, 0x5e, 0, 0, 1];
const ALL = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff];

/** Which of the frames the guest gets: their marks, in order. An own frame comes last and ends it. */
async function received(guest: ReturnType<typeof controlled>, frames: readonly Uint8Array[]) {
  const before = guest.received.length;
  for (const frame of [...frames, frameTo(OWN, 255)]) peer(guest.far).nic.driver.send(frame);
  await until(() => guest.received.at(-1)?.[59] === 255 && guest.received.length > before);
  return guest.received
    .splice(0)
    .map((frame) => frame[59])
    .slice(0, -1);
}

const on = Uint8Array.of(1);
const off = Uint8Array.of(0);

t.test('T38b the receive modes and the address table let in what they say', async (t) => {
  const guest = controlled(CTRL_RX | CTRL_RX_EXTRA | CTRL_MAC_ADDR);
  const kinds = [frameTo(OWN, 1), frameTo(OTHER, 2), frameTo(GROUP, 3), frameTo(ALL, 4)];
  const expectKinds = async (expected: readonly number[], why: string) =>
    t.same(await received(guest, kinds), expected, why);
  const obeyed = async (command: readonly [number, number], data: Uint8Array) =>
    t.equal(await guest.control.command(command, data), true, `command ${command}`);
  await expectKinds([1, 2, 3, 4], 'everything, before anything was said');
  await obeyed(ControlCommand.PROMISCUOUS, off);
  await expectKinds([1, 4], 'own and broadcast');
  await obeyed(ControlCommand.ALL_MULTICAST, on);
  await expectKinds([1, 3, 4], 'and multicast');
  await obeyed(ControlCommand.ALL_MULTICAST, off);
  await obeyed(
    ControlCommand.MAC_TABLE_SET,
    macTable([Uint8Array.from(OTHER)], [Uint8Array.from(GROUP)]),
  );
  await expectKinds([1, 2, 3, 4], 'and the table');
  await obeyed(ControlCommand.NO_MULTICAST, on);
  await obeyed(ControlCommand.NO_BROADCAST, on);
  await expectKinds([1, 2], 'without the kinds that are switched off');
  await obeyed(ControlCommand.MAC_TABLE_SET, macTable([], []));
  await obeyed(ControlCommand.MAC_ADDRESS_SET, Uint8Array.from(OTHER));
  t.same([...guest.device.config.read(0, 6)], OTHER, 'the configuration shows the new address');
  peer(guest.far).nic.driver.send(frameTo(OWN, 9));
  peer(guest.far).nic.driver.send(frameTo(OTHER, 10));
  await until(() => guest.received.length > 0);
  t.same(
    guest.received.map((frame) => frame[59]),
    [10],
    'the new address only',
  );
  const drops = guest.device.statistics().queues[0]?.drops.filtered;
  t.equal(drops, 6, 'every frame that was not let in is counted');
  await guest.close();
});

t.test('VLAN filter: untagged frames and those of the added VLANs come in', async (t) => {
  const guest = controlled(CTRL_VLAN);
  const frames = [frameTo(OWN, 1), frameTo(OWN, 2, 5), frameTo(OWN, 3, 6)];
  t.same(await received(guest, frames), [1]);
  t.equal(await guest.control.command(ControlCommand.VLAN_ADD, word(5)), true);
  t.same(await received(guest, frames), [1, 2]);
  t.equal(await guest.control.command(ControlCommand.VLAN_ADD, word(6)), true);
  t.equal(await guest.control.command(ControlCommand.VLAN_DELETE, word(5)), true);
  t.same(await received(guest, frames), [1, 3]);
  t.equal(await guest.control.command(ControlCommand.VLAN_ADD, word(4096)), false);
  await guest.close();
});

t.test('commands that were not negotiated, or make no sense, are refused', async (t) => {
  const guest = controlled(CTRL_RX);
  const refused = async (command: readonly [number, number], data: Uint8Array) =>
    t.equal(await guest.control.command(command, data), false, `${command}: ${data.length} bytes`);
  await refused(ControlCommand.NO_UNICAST, on);
  await refused(ControlCommand.VLAN_ADD, word(1));
  await refused(ControlCommand.MAC_ADDRESS_SET, Uint8Array.from(OTHER));
  await refused(ControlCommand.QUEUE_PAIRS_SET, word(1));
  await refused(ControlCommand.PROMISCUOUS, new Uint8Array(0));
  await refused(ControlCommand.PROMISCUOUS, Uint8Array.of(2));
  await refused(ControlCommand.MAC_TABLE_SET, Uint8Array.of(9, 0, 0, 0, 0, 0, 0, 0));
  await refused([77, 0], on);
  t.equal(await guest.control.command(ControlCommand.PROMISCUOUS, on), true, 'the queue goes on');
  t.same(guest.device.statistics().queues.at(-1)?.direction, 'control');
  t.equal(guest.device.statistics().queues.at(-1)?.drops.refused, 8);
  await guest.close();
});

t.test('guest offloads are switched off and on while frames come', async (t) => {
  const { GUEST_CSUM, CSUM } = NetFeature;
  const cable = link();
  const guest = plugged(
    cable[0],
    { features: CONTROLLED | CTRL_GUEST_OFFLOADS | GUEST_CSUM, controlQueue: true },
    { mac: MAC, controlQueue: true, offloads: { guestCsum: true } },
  );
  t.equal(
    await guest.nic.control?.command(ControlCommand.GUEST_OFFLOADS_SET, offloadBits(0n)),
    true,
  );
  const set = (bits: bigint) =>
    guest.nic.control?.command(ControlCommand.GUEST_OFFLOADS_SET, offloadBits(bits));
  t.equal(await set(GUEST_CSUM), true);
  t.equal(await set(GUEST_CSUM | NetFeature.GUEST_TSO4), false, 'not negotiated');
  t.equal(await set(CSUM), false, 'no guest offload');
  await guest.close();
  cable[1].close();
});

t.test('multi-queue: pairs are used from the command on, and one by default', async (t) => {
  const guest = controlled(MQ, 4);
  const arrived = guest.nic.drivers.map(() => 0);
  for (const [pair, { frames$ }] of guest.nic.drivers.entries()) {
    frames$.subscribe(({ count }) => {
      arrived[pair] = (arrived[pair] ?? 0) + count;
    });
  }
  const sendToAll = async (expected: readonly number[]) => {
    for (const { nic } of guest.far) nic.driver.send(frameTo(OWN, 1));
    await until(() => expected.every((count, pair) => arrived[pair] === count));
    await turn(5);
    t.same(arrived, expected);
  };
  await sendToAll([1, 0, 0, 0]);
  t.equal(await guest.control.command(ControlCommand.QUEUE_PAIRS_SET, word(3)), true);
  await until(() => arrived[2] === 1);
  t.same(arrived, [1, 1, 1, 0], 'what waited in the backends comes');
  await sendToAll([2, 2, 2, 0]);
  t.equal(await guest.control.command(ControlCommand.QUEUE_PAIRS_SET, word(5)), false);
  t.equal(await guest.control.command(ControlCommand.QUEUE_PAIRS_SET, word(0)), false);
  t.equal(await guest.control.command(ControlCommand.QUEUE_PAIRS_SET, word(1)), true);
  await sendToAll([3, 2, 2, 0]);
  await guest.close();
});

/** A UDP datagram whose flow is told by its source port. */
function datagram(port: number): Uint8Array {
  const frame = new Uint8Array(60);
  frame.set(OWN);
  frame.set([0x08, 0x00, 0x45], 12);
  frame[23] = 17;
  frame.set([10, 0, 0, 1, 10, 0, 0, 2, port >> 8, port & 0xff, 0, 9], 26);
  return frame;
}

const KEY = Uint8Array.from({ length: 40 }, (_, at) => (at * 37 + 11) & 0xff);

/** The hash by its definition, written here once more so that no mistake is shared. */
function toeplitz(key: Uint8Array, input: Uint8Array): number {
  let sum = 0;
  for (let bit = 0; bit < input.length * 8; bit += 1) {
    if ((((input[bit >> 3] as number) << (bit & 7)) & 0x80) === 0) continue;
    for (let at = 0; at < 32; at += 1) {
      const from = bit + at;
      const one = ((key[from >> 3] as number) >> (7 - (from & 7))) & 1;
      sum ^= one << (31 - at);
    }
  }
  return sum >>> 0;
}

t.test(
  'RSS and HASH_REPORT: each flow goes to the queue of its hash, in order, with its hash',
  async (t) => {
    const pairs = 4;
    const guest = controlled(MQ | RSS | HASH_REPORT, pairs);
    const flows = new Map<number, { pairs: Set<number>; marks: number[] }>();
    let wrongHashes = 0;
    for (const [pair, { frames$ }] of guest.nic.drivers.entries()) {
      frames$.subscribe((batch) => {
        for (let index = 0; index < batch.count; index += 1) {
          const frame = batch.frame(index);
          const port = (frame[34] as number) * 256 + (frame[35] as number);
          const flow = flows.get(port) ?? { pairs: new Set(), marks: [] };
          flows.set(port, flow);
          flow.pairs.add(pair);
          flow.marks.push(frame[59] as number);
          const expected = { value: toeplitz(KEY, frame.subarray(26, 38)), report: 3 };
          const { hash } = batch.header(index);
          if (hash?.value !== expected.value || hash.report !== expected.report) wrongHashes += 1;
        }
      });
    }
    const table = Array.from({ length: 128 }, (_, entry) => entry % 3);
    const request = { types: 4, table, unclassified: 0, transmitQueues: pairs, key: KEY };
    t.equal(await guest.control.command(ControlCommand.RSS_CONFIG, rssConfig(request)), true);
    const ports = Array.from({ length: 30 }, (_, index) => 1000 + 77 * index);
    let sent = 0;
    for (let mark = 0; mark < 20; mark += 1) {
      for (const port of ports) {
        const frame = datagram(port);
        frame[59] = mark;
        peer(guest.far, port % pairs).nic.driver.send(frame);
        sent += 1;
      }
      await until(() => guest.received.length === sent);
    }
    t.equal(wrongHashes, 0);
    for (const port of ports) {
      const hash = toeplitz(KEY, datagram(port).subarray(26, 38));
      const flow = flows.get(port);
      t.same([...(flow?.pairs ?? [])], [table[hash & 127]], `flow ${port}`);
      t.same(
        flow?.marks,
        Array.from({ length: 20 }, (_, mark) => mark),
        'in order',
      );
    }
    t.notOk(
      [...flows.values()].some(({ pairs: used }) => used.has(3)),
      'no flow on the fourth pair',
    );
    await guest.close();
  },
);

t.test('HASH_REPORT without steering: frames stay on their pair and carry a hash', async (t) => {
  const guest = controlled(HASH_REPORT);
  const reports: number[] = [];
  guest.nic.driver.frames$.subscribe((batch) => {
    for (let index = 0; index < batch.count; index += 1) {
      reports.push(batch.header(index).hash?.report ?? -1);
    }
  });
  peer(guest.far).nic.driver.send(datagram(1));
  await until(() => reports.length === 1);
  t.equal(await guest.control.command(ControlCommand.HASH_CONFIG, hashConfig(4, KEY)), true);
  peer(guest.far).nic.driver.send(datagram(1));
  peer(guest.far).nic.driver.send(frameTo(OWN, 1));
  await until(() => reports.length === 3);
  t.same(reports, [0, 3, 0], 'nothing before it is asked for, nothing for what has no addresses');
  t.equal(guest.nic.driver.send(datagram(2)), true);
  await until(() => peer(guest.far).received.length === 1);
  t.same([...(peer(guest.far).received[0] ?? [])], [...datagram(2)], 'frames go out without it');
  await guest.close();
});

t.test(
  'T61 a driver that knows how is asked to announce itself, another is announced',
  async (t) => {
    for (const knows of [true, false]) {
      const guest = controlled(NetFeature.STATUS | (knows ? GUEST_ANNOUNCE : 0n));
      const status = () => guest.device.config.read(6, 1)[0];
      const memory = new ArrayBufferMapping(new ArrayBuffer(4096));
      await turn();
      guest.device.announce(MAC, memory);
      t.equal(status(), knows ? 3 : 1);
      await turn(5);
      t.equal(peer(guest.far).received.length, knows ? 0 : 1, 'reverse ARP by the device');
      t.equal(await guest.control.command(ControlCommand.ANNOUNCE_ACKNOWLEDGE), knows);
      t.equal(status(), 1);
      await guest.close();
    }
  },
);
