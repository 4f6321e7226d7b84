/** Offloads from the guest's side: what a driver leaves to the device, and what it is left with. */
import { link } from '@rxvhost/core';
import t from 'tap';
import { buildEthernet, buildIpv4, EtherType, internetChecksum, NetFeature } from '../src/index.js';
import { MODERN, type PluggedNic, plugged, turn, until } from './support/nics.js';

const MAC = [Uint8Array.of(2, 0, 0, 0, 0, 1), Uint8Array.of(2, 0, 0, 0, 0, 2)] as const;
const IP = [Uint8Array.of(10, 0, 0, 1), Uint8Array.of(10, 0, 0, 2)] as const;
const TCP = 6;
const TCP_HEADER = 20;
const TRANSPORT = 14 + 20;
const SEGMENT = 1000;

/** A TCP segment of any size, its checksum field holding the pseudo header's sum. */
function largeFrame(payload: Uint8Array): Uint8Array {
  const segment = new Uint8Array(TCP_HEADER + payload.length);
  segment[12] = 0x50;
  segment.set(payload, TCP_HEADER);
  const sum = ~internetChecksum(pseudoHeader(segment.length)) & 0xffff;
  segment[16] = sum >> 8;
  segment[17] = sum & 0xff;
  const packet = buildIpv4({
    source: IP[0],
    destination: IP[1],
    protocol: TCP,
    payload: segment,
  });
  return buildEthernet(MAC[1], MAC[0], EtherType.IPV4, packet);
}

const pseudoHeader = (length: number): Uint8Array =>
  Uint8Array.of(...IP[0], ...IP[1], 0, TCP, length >> 8, length & 0xff);

const header = {
  flags: 1,
  gsoType: 1,
  headerLength: TRANSPORT + TCP_HEADER,
  gsoSize: SEGMENT,
  checksumStart: TRANSPORT,
  checksumOffset: 16,
  bufferCount: 0,
};

t.test('T55 a large segment arrives at a guest without offloads as whole frames', async (t) => {
  const { CSUM, HOST_TSO4, MRG_RXBUF } = NetFeature;
  for (const receiving of [MODERN, MODERN | MRG_RXBUF]) {
    const [one, other] = link();
    const sender = plugged(one, {
      features: MODERN | CSUM | HOST_TSO4,
      maxFrameLength: 65_000,
      queueSize: 16,
    });
    const receiver = plugged(other, { features: receiving });
    const payload = Uint8Array.from({ length: 60_300 }, (_, at) => (at * 7) & 0xff);
    t.equal(sender.nic.driver.send(largeFrame(payload), header), true);
    await until(() => receiver.received.length === 61);
    const joined: Uint8Array[] = [];
    for (const frame of receiver.received) {
      const segment = frame.subarray(TRANSPORT);
      const covered = Buffer.concat([pseudoHeader(segment.length), segment]);
      if (internetChecksum(covered) !== 0) t.fail('a wrong checksum');
      joined.push(segment.slice(TCP_HEADER));
    }
    t.equal(Buffer.compare(Buffer.concat(joined), payload), 0, 'the payload, in order');
    t.match(sender.device.statistics().queues[1], { frames: 1, drops: { malformed: 0 } });
    await sender.close();
    await receiver.close();
  }
});

t.test('T37 a driver that asks for what it has not negotiated loses that frame', async (t) => {
  const [one] = link();
  const sender = plugged(one, {
    features: MODERN | NetFeature.CSUM,
    maxFrameLength: 65_000,
    queueSize: 16,
  });
  sender.nic.driver.send(largeFrame(new Uint8Array(5000)), header);
  await until(() => sender.device.statistics().queues[1]?.drops.malformed === 1);
  t.equal(sender.device.statistics().queues[1]?.frames, 0);
  await sender.close();
});

t.test('T58 frames of each of 16 queue pairs come back on that pair, in order', async (t) => {
  const cables = Array.from({ length: 16 }, () => link());
  const near = plugged(
    cables.map(([end]) => end),
    { pairs: 16, queueSize: 16 },
  );
  const far = plugged(
    cables.map(([, end]) => end),
    { pairs: 16, queueSize: 16 },
  );
  const got = far.nic.drivers.map(({ frames$ }) => {
    const first: number[] = [];
    frames$.subscribe((batch) => {
      for (const frame of batch) first.push(frame[0] as number);
    });
    return first;
  });
  const send = async (pairs: readonly number[], count: number) => {
    const before = far.received.length;
    for (const pair of pairs) {
      for (let n = 0; n < count; n += 1) near.nic.pair(pair).send(new Uint8Array(60).fill(pair));
    }
    await until(() => far.received.length === before + pairs.length * count);
  };
  const all = Array.from({ length: 16 }, (_, pair) => pair);
  await send(all, 5);
  // The guest goes down to 4 pairs while frames are on their way, and up again.
  for (const pair of all.slice(4)) {
    near.device.runQueue(2 * pair, 'discarding');
    near.device.runQueue(2 * pair + 1, 'discarding');
  }
  near.nic.pair(9).send(new Uint8Array(60).fill(99));
  await send(all.slice(0, 4), 5);
  await until(() => near.device.statistics().queues[19]?.drops.disabled === 1);
  for (const pair of all.slice(4)) {
    near.device.runQueue(2 * pair, 'running');
    near.device.runQueue(2 * pair + 1, 'running');
  }
  await send(all, 5);
  for (const [pair, first] of got.entries()) {
    t.same(first, Array(pair < 4 ? 15 : 10).fill(pair));
  }
  await near.close();
  await far.close();
});

t.test('T58 a pair of which one direction runs carries that direction alone', async (t) => {
  const cables = [link(), link()];
  const [near, far] = [0, 1].map((end) =>
    plugged(
      cables.map((cable) => cable[end as 0 | 1]),
      { pairs: 2, queueSize: 16 },
    ),
  ) as [PluggedNic, PluggedNic];
  near.device.runQueue(2, 'stopped');
  far.device.runQueue(3, 'stopped');
  near.nic.pair(1).send(new Uint8Array(60).fill(1));
  await until(() => far.received.length === 1);
  far.nic.pair(1).send(new Uint8Array(60).fill(2));
  near.nic.pair(0).send(new Uint8Array(60).fill(3));
  far.nic.pair(0).send(new Uint8Array(60).fill(4));
  await until(() => far.received.length === 2 && near.received.length === 1);
  t.equal(near.received[0]?.[0], 4, 'nothing came back on the stopped direction');
  far.device.runQueue(3, 'running');
  await turn(20);
  t.equal(near.received.length, 1, 'sent, and waiting at the other end');
  near.device.runQueue(2, 'running');
  await until(() => near.received.length === 2);
  t.equal(near.received[1]?.[0], 2);
  for (const { device } of [near, far]) {
    for (const { drops } of device.statistics().queues) t.equal(drops.disabled, 0);
  }
  await near.close();
  await far.close();
});

t.test('T60 jumbo frames pass whole, merged or in buffers of their size', async (t) => {
  const mtu = 9000;
  for (const mergeable of [false, true]) {
    const [one, other] = link();
    const options = {
      features: MODERN | NetFeature.MTU | (mergeable ? NetFeature.MRG_RXBUF : 0n),
      queueSize: 32,
      maxFrameLength: mtu + 14,
      receiveBufferLength: mergeable ? 1526 : 12 + mtu + 14,
    };
    const [near, far] = [one, other].map((end) => plugged(end, options, { mtu })) as [
      PluggedNic,
      PluggedNic,
    ];
    const frames = [60, 1514, 4000, 9014].map((length) =>
      Uint8Array.from({ length }, (_, at) => (at * 7 + length) & 0xff),
    );
    for (const frame of frames) near.nic.driver.send(frame);
    await until(() => far.received.length === frames.length);
    t.same(far.received, frames, `mergeable ${mergeable}`);
    await near.close();
    await far.close();
  }
});
