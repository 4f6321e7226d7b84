/** Receive-side scaling: the hash against published vectors, what is hashed, what the table says. */
import fc from 'fast-check';
import t from 'tap';
import { readHashConfig, readRssConfig } from '../src/net/control/rss-commands.js';
import { FlowHash, HASH_REPORT, SUPPORTED_HASH_TYPES } from '../src/net/steering/flow-hash.js';
import { Indirection } from '../src/net/steering/indirection.js';
import { Toeplitz } from '../src/net/steering/toeplitz.js';
import { flowFrame, VERIFICATION_KEY, VERIFICATION_VECTORS } from './support/flows.js';

const viewOf = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset, bytes.length);

function hashOf(frame: Uint8Array, types = SUPPORTED_HASH_TYPES) {
  const flow = new FlowHash(new Toeplitz(VERIFICATION_KEY), types);
  flow.hash(viewOf(frame), 0, frame.length);
  return { value: flow.value, report: flow.report };
}

/** The definition, bit by bit. */
function plainToeplitz(key: Uint8Array, input: Uint8Array): number {
  const bits = [...key].map((byte) => byte.toString(2).padStart(8, '0')).join('');
  let sum = 0;
  for (let bit = 0; bit < input.length * 8; bit += 1) {
    const set = ((input[bit >> 3] as number) >> (7 - (bit & 7))) & 1;
    if (set === 1) sum ^= Number.parseInt(bits.slice(bit, bit + 32).padEnd(32, '0'), 2);
  }
  return sum >>> 0;
}

t.test('RSS: the published verification vectors of the Toeplitz hash come out', async (t) => {
  for (const {
    source,
    destination,
    sourcePort,
    destinationPort,
    ...hash
  } of VERIFICATION_VECTORS) {
    const addresses = { source, destination, sourcePort, destinationPort };
    const v6 = source.includes(':');
    t.same(hashOf(flowFrame({ ...addresses, protocol: 6 })), {
      value: hash.withPorts,
      report: v6 ? HASH_REPORT.TCPV6 : HASH_REPORT.TCPV4,
    });
    t.same(hashOf(flowFrame({ ...addresses, protocol: 17 })), {
      value: hash.withPorts,
      report: v6 ? HASH_REPORT.UDPV6 : HASH_REPORT.UDPV4,
    });
    t.same(hashOf(flowFrame({ ...addresses, protocol: 47 })), {
      value: hash.addresses,
      report: v6 ? HASH_REPORT.IPV6 : HASH_REPORT.IPV4,
    });
  }
});

t.test('RSS: the hash is the definition’s for any key and any input', async (t) => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 40, maxLength: 40 }),
      fc.uint8Array({ minLength: 0, maxLength: 36 }),
      (key, input) => new Toeplitz(key).hash(input, input.length) === plainToeplitz(key, input),
    ),
  );
  t.equal(new Toeplitz(Uint8Array.of(0x80)).hash(Uint8Array.of(0x80), 1), 0x8000_0000);
});

t.test('RSS: only what the driver has enabled is hashed', async (t) => {
  const [vector] = VERIFICATION_VECTORS;
  if (vector === undefined) throw new Error('no vectors');
  const tcp = flowFrame({ ...vector, protocol: 6 });
  t.same(hashOf(tcp, 1), { value: vector.addresses, report: HASH_REPORT.IPV4 }, 'without ports');
  t.same(hashOf(tcp, 1 << 2), { value: 0, report: HASH_REPORT.NONE }, 'UDP only');
  t.same(hashOf(tcp, 1 << 3), { value: 0, report: HASH_REPORT.NONE }, 'IPv6 only');
  const fragment = flowFrame({ ...vector, protocol: 6 });
  fragment[20] = 0x20;
  t.same(hashOf(fragment), { value: vector.addresses, report: HASH_REPORT.IPV4 }, 'a fragment');
  const tagged = flowFrame({ ...vector, protocol: 6, vlan: 7 });
  t.same(hashOf(tagged), hashOf(tcp), 'behind a VLAN tag');
  const arp = new Uint8Array(60);
  arp.set([0x08, 0x06], 12);
  t.same(hashOf(arp), { value: 0, report: HASH_REPORT.NONE }, 'ARP');
});

t.test('RSS: IPv6 extension headers are looked behind', async (t) => {
  const vector = VERIFICATION_VECTORS.find(({ source }) => source.includes(':'));
  if (vector === undefined) throw new Error('no IPv6 vector');
  for (const extension of [0, 43, 60]) {
    const frame = flowFrame({ ...vector, protocol: 6, extension });
    t.same(hashOf(frame), { value: vector.withPorts, report: HASH_REPORT.TCPV6 }, `${extension}`);
  }
  const fragment = flowFrame({ ...vector, protocol: 6, extension: 44 });
  t.same(hashOf(fragment), { value: vector.addresses, report: HASH_REPORT.IPV6 }, 'a fragment');
});

t.test('RSS: no bytes of a frame make the hash throw or read outside it', async () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 120 }), (bytes) => {
      const frame = Uint8Array.from(bytes);
      if (frame.length > 14) frame.set(frame[0] === 0 ? [0x08, 0x00] : [0x86, 0xdd], 12);
      hashOf(frame);
      return true;
    }),
  );
});

/** RSS_CONFIG as a driver writes it. */
function rssCommand(options: {
  readonly types?: number;
  readonly mask?: number;
  readonly table: readonly number[];
  readonly unclassified?: number;
  readonly transmitQueues?: number;
  readonly key?: Uint8Array;
}): DataView {
  const { table, key = VERIFICATION_KEY } = options;
  const bytes = new Uint8Array(8 + 2 * table.length + 3 + key.length);
  const view = viewOf(bytes);
  view.setUint32(0, options.types ?? SUPPORTED_HASH_TYPES, true);
  view.setUint16(4, options.mask ?? table.length - 1, true);
  view.setUint16(6, options.unclassified ?? 0, true);
  for (const [entry, queue] of table.entries()) view.setUint16(8 + 2 * entry, queue, true);
  view.setUint16(8 + 2 * table.length, options.transmitQueues ?? 1, true);
  view.setUint8(10 + 2 * table.length, key.length);
  bytes.set(key, 11 + 2 * table.length);
  return view;
}

t.test('RSS: the table and the hash choose the queue', async (t) => {
  const config = readRssConfig(rssCommand({ table: [0, 1, 2, 3], unclassified: 2 }), 4);
  if (config === undefined) throw new Error('the command is good');
  const choice = new Indirection(config);
  for (const vector of VERIFICATION_VECTORS) {
    const frame = flowFrame({ ...vector, protocol: 6 });
    t.equal(choice.pairOf(viewOf(frame), 0, frame.length), vector.withPorts % 4);
  }
  const arp = new Uint8Array(60);
  t.equal(choice.pairOf(viewOf(arp), 0, arp.length), 2, 'what is not hashed');
});

t.test('RSS: a command that cannot be obeyed is refused', async (t) => {
  const refused = (view: DataView, pairs = 4) => t.equal(readRssConfig(view, pairs), undefined);
  refused(rssCommand({ table: [0, 1, 2] }));
  refused(rssCommand({ table: [0, 4] }));
  refused(rssCommand({ table: [0, 1], unclassified: 4 }));
  refused(rssCommand({ table: [0], types: 1 << 6 }));
  refused(rssCommand({ table: [0], transmitQueues: 5 }));
  refused(rssCommand({ table: [0], transmitQueues: 0 }));
  refused(rssCommand({ table: new Array(256).fill(0) }));
  refused(rssCommand({ table: [0], key: new Uint8Array(41) }));
  refused(rssCommand({ table: [0], mask: 127 }));
  const whole = rssCommand({ table: [0, 1] });
  for (let length = 0; length < whole.byteLength; length += 1) {
    refused(new DataView(whole.buffer, 0, length));
  }
  t.ok(readRssConfig(whole, 4));
});

t.test('RSS: HASH_CONFIG has hash types and a key', async (t) => {
  const bytes = new Uint8Array(13 + 40);
  bytes[0] = 0x3f;
  bytes[12] = 40;
  bytes.set(VERIFICATION_KEY, 13);
  t.same(readHashConfig(viewOf(bytes)), { types: 0x3f, key: VERIFICATION_KEY });
  t.equal(readHashConfig(viewOf(bytes.subarray(0, 52))), undefined);
  bytes[1] = 1;
  t.equal(readHashConfig(viewOf(bytes)), undefined, 'unknown hash types');
});
