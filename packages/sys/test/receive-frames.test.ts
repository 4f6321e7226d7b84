import type { PacketBatch } from '@rxvhost/core';
import t from 'tap';
import {
  closeFd,
  FrameKeep,
  readFrames,
  receiveFrames,
  sendFrames,
  sendWithFds,
  socketPair,
  writeFrames,
} from '../src/index.js';
import {
  batchOf,
  drain,
  framesIn,
  type GuestMemory,
  guestMemory,
  row,
} from './support/guest-memory.js';
import { codeOf } from './support/resources.js';

const SIZE = 4 << 20;
let memory: GuestMemory;
t.before(() => {
  memory = guestMemory(SIZE);
});
t.beforeEach(() => {
  for (let i = 0; i < 300_000; i += 1) memory.bytes[i] = (i * 7 + (i >> 8)) & 0xff;
});
t.teardown(() => memory.mapping.release());

/** A frame of `length` bytes, each of them `mark`. */
const frame = (mark: number, length: number): Uint8Array => new Uint8Array(length).fill(mark);

/** Both ways of receiving. */
const receivers = [
  {
    name: 'readFrames',
    receive: (fd: number, batch: PacketBatch) => readFrames(fd, batch, new FrameKeep()),
  },
  { name: 'receiveFrames', receive: receiveFrames },
];

for (const { name, receive } of receivers) {
  t.test(`${name} puts each frame behind the bytes to skip`, async (t) => {
    const [near, far] = socketPair('datagram');
    memory.bytes.fill(0xee, 0, 65536);
    const batch = batchOf(memory, 12, [
      [[0, 100]],
      [
        [200, 12],
        [300, 60],
      ],
      [
        [400, 20],
        [500, 2000],
      ],
      [[3000, 100]],
    ]);
    for (const [i, length] of [88, 1, 1500].entries()) sendWithFds(far, frame(i + 1, length), []);
    t.equal(receive(near, batch), 3);
    t.same(framesIn(batch), [frame(1, 88), frame(2, 1), frame(3, 1500)]);
    t.same([...batch.frameChains.subarray(0, 3)], [1, 1, 1]);
    t.ok(
      [0, 11, 200, 211, 400, 411, 301, 500 + 1492, 3000].every((at) => memory.bytes[at] === 0xee),
    );
    t.equal(receive(near, batch), 3, 'nothing more: what is there stays');
    sendWithFds(far, frame(9, 88), []);
    sendWithFds(far, frame(10, 88), []);
    t.equal(receive(near, batch), 4);
    t.same(framesIn(batch)[3], frame(9, 88));
    t.equal(drain(near).length, 1, 'a full batch leaves the rest in the socket');
    closeFd(near);
    closeFd(far);
  });

  t.test(
    `${name} drops and counts a frame that is too large, its chain takes the next one (T51)`,
    async (t) => {
      const [near, far] = socketPair('datagram');
      const batch = batchOf(memory, 10, [
        [[0, 110]],
        [
          [200, 10],
          [300, 50],
          [400, 50],
        ],
        [[500, 110]],
        [[700, 60]],
        [[800, 110]],
      ]);
      const lengths = [101, 60_000, 100, 101, 70, 100, 51, 7];
      for (const [i, length] of lengths.entries()) sendWithFds(far, frame(i + 1, length), []);
      t.equal(receive(near, batch) < 0, false);
      const frames = framesIn(batch);
      for (const bytes of frames)
        t.ok(bytes.every((byte) => byte === bytes[0] && lengths[byte - 1] === bytes.length));
      t.same(frames.slice(0, 3), [frame(3, 100), frame(5, 70), frame(6, 100)]);
      t.equal(batch.oversized + batch.frameCount, 8);
      t.equal(batch.frameCount, 4);
      t.ok(batch.frameChains.subarray(0, 4).every((n) => n === 1));
      closeFd(near);
      closeFd(far);
    },
  );

  t.test(`${name} lets a frame run on over several chains`, async (t) => {
    const [near, far] = socketPair('datagram');
    const batch = batchOf(memory, 12, row(40, 1024, 2048));
    batch.chainsPerFrame = 10;
    for (const [i, length] of [1012, 1013, 5000, 60, 11_000].entries())
      sendWithFds(far, frame(i + 1, length), []);
    t.equal(receive(near, batch), 9);
    t.same([...batch.frameChains.subarray(0, 4)], [1, 2, 5, 1]);
    t.same(framesIn(batch), [frame(1, 1012), frame(2, 1013), frame(3, 5000), frame(4, 60)]);
    t.equal(batch.oversized, 1, 'no ten chains hold 11000 bytes');
    closeFd(near);
    closeFd(far);
  });

  t.test(`${name} stops before chains whose memory has gone`, async (t) => {
    const [near, far] = socketPair('datagram');
    const batch = batchOf(memory, 0, [[[0, 100]], [[SIZE - 10, 100]], [[200, 100]]]);
    for (let i = 0; i < 3; i += 1) sendWithFds(far, frame(1, 64), []);
    t.equal(receive(near, batch), 1);
    t.equal(drain(near).length, 2);
    closeFd(near);
    closeFd(far);
  });

  t.test(
    `${name} tells the end of a connection and a bad fd, once the frames are taken`,
    async (t) => {
      const [near, far] = socketPair('seqpacket');
      const batch = batchOf(memory, 0, row(4, 100, 128));
      sendWithFds(far, frame(1, 64), []);
      closeFd(far);
      t.equal(receive(near, batch), 1);
      t.equal(
        codeOf(() => receive(near, batch)),
        'ESHUTDOWN',
      );
      t.equal(batch.frameCount, 1);
      closeFd(near);
      t.equal(
        codeOf(() => receive(near, batch)),
        'EBADF',
      );
    },
  );
}

t.test(
  'receiveFrames leaves a frame in the socket that the chains left may not hold',
  async (t) => {
    const [near, far] = socketPair('datagram');
    const batch = batchOf(memory, 0, row(6, 1024, 2048));
    batch.chainsPerFrame = 4;
    for (const length of [4000, 3000, 100]) sendWithFds(far, frame(1, length), []);
    t.equal(receiveFrames(near, batch), 4);
    const rest = batchOf(memory, 0, row(6, 1024, 2048));
    rest.chainsPerFrame = 4;
    t.equal(receiveFrames(near, rest), 4, 'three chains and one');
    t.same(
      framesIn(rest).map((bytes) => bytes.length),
      [3000, 100],
    );
    closeFd(near);
    closeFd(far);
  },
);

t.test('a flood of frames that are too large ends the call', async (t) => {
  const [near, far] = socketPair('datagram');
  for (const { receive } of receivers) {
    const batch = batchOf(memory, 0, row(2, 64, 64));
    let sent = 0;
    while (sendWithFds(far, frame(1, 100), []) !== undefined) sent += 1;
    t.equal(receive(near, batch), 0);
    t.equal(batch.oversized, Math.min(sent, 4), 'twice the capacity at most');
    drain(near);
  }
  closeFd(near);
  closeFd(far);
});

t.test('empty batches and batches without memory do nothing', async (t) => {
  const [near, far] = socketPair('datagram');
  const batch = batchOf(memory, 0, []);
  t.equal(writeFrames(near, batch, 0), 0);
  t.equal(sendFrames(near, batch, 0), 0);
  t.equal(readFrames(near, batch, new FrameKeep()), 0);
  t.equal(receiveFrames(near, batch), 0);
  closeFd(near);
  closeFd(far);
});
