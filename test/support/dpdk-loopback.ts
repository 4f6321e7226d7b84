/** Frames out of DPDK's virtio-user through a NIC that sends them back, and what came of them. */
import { join } from 'node:path';
import type { Test } from 'tap';
import { readPcap, writePcap } from './pcap-file.js';
import { Server } from './server.js';
import { Testpmd } from './testpmd.js';

/** How DPDK's driver uses its rings. */
export interface LoopbackSetup {
  /** Where files and sockets go. */
  readonly folder: string;
  /** Tells runs in one folder apart. */
  readonly name: string;
  readonly pairs: number;
  readonly mergeable: boolean;
  /** Split, and in order where the NIC offers it, unless set. */
  readonly packed?: boolean;
  readonly inOrder?: boolean;
  /** Entries in each ring; 256 unless set. */
  readonly queueSize?: number;
}

const FRAMES = 5000;

/** Sends 5000 frames of all sizes; every one must come back as it was, in order, and be counted. */
export async function returnsEveryFrame(t: Test, setup: LoopbackSetup): Promise<void> {
  const { folder, name, pairs } = setup;
  const socketPath = join(folder, `${name}.sock`);
  const server = await Server.start({
    socketPath,
    backend: `loopback:queues=${pairs}`,
    arguments: ['--once', '--queue-size=32768'],
  });
  t.teardown(() => server.kill());
  const count = Math.floor(FRAMES / pairs);
  const files = Array.from({ length: pairs }, (_, pair) => {
    const path = (end: string) => join(folder, `${name}-${pair}-${end}.pcap`);
    return {
      source: path('source'),
      result: path('result'),
      frames: framesOfManySizes(count, pair),
    };
  });
  for (const { source, frames } of files) writePcap(source, frames);
  const client = await Testpmd.start({
    name: 'dpdk-test',
    core: 1,
    mode: 'io',
    devices: [
      [
        'net_pcap0',
        ...files.map(({ source }) => `rx_pcap=${source}`),
        ...files.map(({ result }) => `tx_pcap=${result}`),
      ].join(),
      virtioUser(socketPath, setup),
    ],
    // Enough for every ring at once, on either side.
    arguments: [`--txq=${pairs}`, `--rxq=${pairs}`, '--total-num-mbufs=32768'],
  });
  t.teardown(() => client.kill());
  // Send what the file holds instead of throwing away what waits at the start.
  await client.command('set flush_rx off');
  // Where the ring is full, try again instead of dropping.
  await client.command('set burst tx delay 100 retry 10000');
  await client.command('set fwd io retry');
  await client.forward();
  const total = count * pairs;
  const [, nic] = await client.portStatisticsWhen(([, nic]) => nic?.received === total);
  t.equal(nic?.transmitted, total, 'testpmd sent all frames');
  t.equal(nic?.received, total, 'testpmd received all frames');
  await client.stopForwarding();
  t.same(await client.quit(), { status: 0, signal: null });
  for (const [pair, { result, frames }] of files.entries()) {
    const returned = readPcap(result);
    t.equal(returned.length, frames.length);
    const different = frames.findIndex((frame, index) => !returned[index]?.equals(frame));
    t.equal(different, -1, `no frame of pair ${pair} differs from the one sent`);
  }
  const { statistics } = await server.ended();
  const expected = files.flatMap(({ frames }) => {
    const bytes = frames.reduce((sum, frame) => sum + frame.length, 0);
    return [
      { direction: 'receive', frames: count, bytes, errors: 0 },
      { direction: 'transmit', frames: count, bytes, errors: 0 },
    ];
  });
  t.match(statistics.queues, expected);
}

/** The arguments of a `net_virtio_user` device. */
function virtioUser(path: string, setup: LoopbackSetup): string {
  const { pairs, mergeable, packed, inOrder, queueSize = 256 } = setup;
  const flag = (name: string, value: boolean | undefined) =>
    value === undefined ? [] : [`${name}=${value ? 1 : 0}`];
  return [
    'net_virtio_user0',
    `path=${path}`,
    `queue_size=${queueSize}`,
    `queues=${pairs}`,
    ...flag('mrg_rxbuf', mergeable),
    ...flag('packed_vq', packed),
    ...flag('in_order', inOrder),
  ].join();
}

/** Frames of 60 to 1514 bytes; a linear congruential generator fills them, so that runs are equal. */
function framesOfManySizes(count: number, seed: number): Buffer[] {
  let state = 1 + seed;
  const next = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state >>> 16;
  };
  return Array.from({ length: count }, () => {
    const frame = Buffer.alloc(60 + (next() % 1455));
    for (let offset = 0; offset < frame.length; offset++) frame[offset] = next();
    return frame;
  });
}
