import t from 'tap';
import { closeFd, sendFrames, socketPair, writeFrames } from '../src/index.js';
import {
  batchOf,
  drain,
  type GuestMemory,
  guestMemory,
  type Pieces,
  row,
} from './support/guest-memory.js';

const SIZE = 4 << 20;
const EFAULT = -14;
let memory: GuestMemory;
t.before(() => {
  memory = guestMemory(SIZE);
});
t.beforeEach(() => {
  for (let i = 0; i < 300_000; i += 1) memory.bytes[i] = (i * 7 + (i >> 8)) & 0xff;
});
t.teardown(() => memory.mapping.release());

/** Both ways of transmitting, over sockets that keep messages apart. */
const senders = [
  { name: 'writeFrames', send: writeFrames },
  { name: 'sendFrames', send: sendFrames },
];

for (const { name, send } of senders) {
  t.test(`${name} sends each chain as one frame, without the bytes to skip`, async (t) => {
    const [near, far] = socketPair('datagram');
    const chains: Pieces[] = [
      [[0, 100]],
      [
        [200, 12],
        [300, 60],
      ],
      [
        [400, 5],
        [500, 7],
        [600, 0],
        [700, 1],
        [800, 2000],
      ],
      [
        [3000, 6],
        [3100, 20],
      ],
    ];
    const batch = batchOf(memory, 12, chains);
    t.equal(send(near, batch, 0), 4);
    t.same([...batch.results.subarray(0, 4)], [88, 60, 2001, 14]);
    const expected = chains.map((pieces) =>
      Uint8Array.from(
        pieces
          .flatMap(([offset, length]) => [...memory.bytes.subarray(offset, offset + length)])
          .slice(12),
      ),
    );
    t.same(drain(far), expected);
    t.equal(send(near, batch, 3), 1, 'from the frame named first on');
    t.same(drain(far), [expected[3]]);
    t.equal(send(near, batch, 4), 0);
    closeFd(near);
    closeFd(far);
  });

  t.test(`${name} stops where the socket is full, and goes on from there`, async (t) => {
    const [near, far] = socketPair('datagram');
    const batch = batchOf(memory, 0, row(200, 1000, 1024));
    const got: Uint8Array[] = [];
    let first = 0;
    let rounds = 0;
    while (first < 200) {
      const sent = send(near, batch, first);
      rounds += 1;
      first += sent;
      got.push(...drain(far));
    }
    t.ok(rounds > 1, `in ${rounds} rounds`);
    t.equal(got.length, 200);
    t.ok(
      got.every((bytes, i) =>
        Buffer.from(bytes).equals(memory.bytes.subarray(i * 1024, i * 1024 + 1000)),
      ),
    );
    t.ok(batch.results.every((result) => result === 1000));
    closeFd(near);
    closeFd(far);
  });

  t.test(`${name} drops a frame that cannot be sent, says why, and sends the others`, async (t) => {
    const [near, far] = socketPair('datagram');
    const batch = batchOf(memory, 0, [
      [[0, 64]],
      [[SIZE - 63, 64]],
      [[0, 1_000_000]],
      [[64, 64]],
      Array.from({ length: 1025 }, (_, i) => [i, 1] as const),
      [[128, 64]],
      Array.from({ length: 1024 }, (_, i) => [i, 1] as const),
    ]);
    t.equal(send(near, batch, 0), 7);
    t.same([...batch.results], [64, EFAULT, -90, 64, -90, 64, 1024]);
    t.same(
      drain(far).map((bytes) => bytes.length),
      [64, 64, 64, 1024],
    );
    closeFd(far);
    t.equal(send(near, batch, 0), 7, 'a peer that is gone takes nothing');
    t.ok(
      batch.results.every((result) => result < 0),
      batch.results.join(),
    );
    closeFd(near);
    t.equal(send(near, batch, 0), 7);
    t.equal(batch.results[0], -9, 'EBADF');
  });

  t.test(`${name} refuses memory that has gone`, async (t) => {
    const [near, far] = socketPair('datagram');
    const gone = guestMemory(4096);
    const batch = batchOf(gone, 0, row(3, 64, 64));
    gone.table.invalidate();
    gone.mapping.release();
    t.equal(send(near, batch, 0), 3);
    t.same([...batch.results], [EFAULT, EFAULT, EFAULT]);
    t.same(drain(far), []);
    closeFd(near);
    closeFd(far);
  });
}
