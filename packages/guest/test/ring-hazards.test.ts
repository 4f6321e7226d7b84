/**
 * What a guest sees when it breaks the rules of a ring, or stretches them: hazards T30 to T32, T35,
 * T36 and T38 against vhost-net, over rings that are written by hand.
 */
import { FEATURE } from '@rxvhost/core';
import t from 'tap';
import { DESCRIPTOR_NEXT } from '../src/index.js';
import { HostileGuest } from './support/hostile-guest.js';
import { turn } from './support/nics.js';
import { withGuest } from './support/with-guest.js';

const fills = (guest: HostileGuest) => guest.socket.sent.map((frame) => frame[0]);

t.test('T30 an available index more than a queue ahead takes nothing, and heals', async (t) => {
  for (const jump of [9, 0x8000, 0xffff]) {
    await withGuest(t, async (guest) => {
      const { transmit, faults } = guest;
      guest.chain(transmit, 0, guest.goodFrame(7));
      transmit.setAvailableEntry(0, 0);
      transmit.availableIndex = jump;
      await guest.kick(1);
      t.match(faults, [{ queue: 1, code: 'EINVAL', message: /available index/ }], `by ${jump}`);
      t.equal(transmit.usedIndex, 0);
      transmit.availableIndex = 1;
      await guest.kick(1);
      t.strictSame(fills(guest), [7], 'the right index is taken at the next kick');
      t.equal(faults.length, 1);
    });
  }
});

t.test('T31 heads and links outside the table, and loops, stop the queue alone', async (t) => {
  const cases: [string, number, (guest: HostileGuest) => void][] = [
    ['head = size', 8, () => {}],
    ['head = 65535', 65535, () => {}],
    [
      'next = size',
      0,
      ({ transmit }) => transmit.setDescriptor(0, { flags: DESCRIPTOR_NEXT, next: 8 }),
    ],
    [
      'next = 65535',
      0,
      ({ transmit }) => transmit.setDescriptor(0, { flags: DESCRIPTOR_NEXT, next: 65535 }),
    ],
    [
      'a link to itself',
      0,
      ({ transmit }) => transmit.setDescriptor(0, { flags: DESCRIPTOR_NEXT, next: 0 }),
    ],
    [
      'a loop of empty buffers',
      0,
      ({ transmit }) => {
        transmit.setDescriptor(0, { length: 0, flags: DESCRIPTOR_NEXT, next: 1 });
        transmit.setDescriptor(1, { length: 0, flags: DESCRIPTOR_NEXT, next: 0 });
      },
    ],
    [
      'a loop over the whole table, one more than fit',
      0,
      (guest) => {
        const parts = Array.from({ length: 8 }, () => guest.buffer(20));
        guest.chain(guest.transmit, 0, ...parts);
        guest.transmit.setDescriptor(7, { flags: DESCRIPTOR_NEXT, next: 0 });
      },
    ],
  ];
  for (const [name, head, spoil] of cases) {
    await withGuest(t, async (guest) => {
      guest.chain(guest.transmit, 0, guest.goodFrame(1));
      spoil(guest);
      guest.transmit.offer(head);
      await guest.kick(1);
      t.match(guest.faults, [{ queue: 1, code: 'EINVAL' }], name);
      t.equal(guest.transmit.usedIndex, 0, 'nothing is used');
      t.equal(guest.socket.sent.length, 0, 'nothing is sent');
    });
  }
});

t.test('T31 a chain just as long as the queue is sent', async (t) => {
  await withGuest(t, async (guest) => {
    const parts = Array.from({ length: 7 }, (_, index) => guest.buffer(10, index + 1));
    guest.chain(guest.transmit, 0, guest.buffer(12), ...parts);
    guest.transmit.offer(0);
    await guest.kick(1);
    t.strictSame(guest.faults, []);
    const expected = parts.flatMap((_, index) => new Array(10).fill(index + 1));
    t.strictSame([...(guest.socket.sent[0] ?? [])], expected);
    t.strictSame(guest.transmit.usedEntry(0), { id: 0, length: 0 });
  });
});

t.test('T32 B9 a broken chain is reported once, and tried again at each kick', async (t) => {
  await withGuest(t, async (guest) => {
    const { transmit, faults } = guest;
    guest.chain(transmit, 0, guest.goodFrame(3));
    transmit.setDescriptor(0, { address: 2n ** 60n });
    transmit.offer(0);
    await guest.kick(1);
    await turn(100);
    t.equal(faults.length, 1, 'no busy loop on the same entry');
    await guest.kick(1);
    t.equal(faults.length, 2, 'one look for each kick');
    guest.chain(transmit, 0, guest.goodFrame(4));
    await guest.kick(1);
    t.strictSame(fills(guest), [4], 'once mended it is sent');
    t.strictSame(transmit.usedEntry(0), { id: 0, length: 0 });
  });
});

t.test('T35 descriptors in the wrong direction or order stop the queue alone', async (t) => {
  await withGuest(t, async (guest) => {
    guest.chain(guest.transmit, 0, guest.goodFrame(1), guest.space(10));
    guest.transmit.offer(0);
    await guest.kick(1);
    t.match(guest.faults, [{ queue: 1, code: 'EINVAL' }], 'something to write in transmit');
    t.equal(guest.transmit.usedIndex, 0);
    guest.chain(guest.transmit, 2, guest.goodFrame(2));
    guest.transmit.offer(2);
    await guest.kick(1);
    t.strictSame(fills(guest), [2], 'the chain behind it is sent at the next kick');
    t.strictSame(guest.transmit.usedEntry(0), { id: 2, length: 0 });
  });
  await withGuest(t, async (guest) => {
    guest.chain(guest.transmit, 0, guest.space(12), guest.buffer(60, 1));
    guest.transmit.offer(0);
    await guest.kick(1);
    t.match(guest.faults, [{ queue: 1, code: 'EINVAL' }], 'readable after writable');
  });
  await withGuest(t, async (guest) => {
    guest.chain(guest.receive, 0, guest.buffer(2000, 0x55));
    guest.receive.offer(0);
    guest.socket.feed(new Uint8Array(60));
    await guest.kick(0);
    t.match(
      guest.faults,
      [{ queue: 0, code: 'EINVAL' }],
      'nothing but something to read in receive',
    );
    t.equal(guest.receive.usedIndex, 0);
    guest.chain(guest.receive, 0, guest.space(2000));
    await guest.kick(0);
    t.strictSame(guest.receive.usedEntry(0), { id: 0, length: 72 }, 'once mended it is filled');
  });
});

t.test('T36 a transmit chain with nothing behind its header is no frame', async (t) => {
  for (const [features, header] of [
    [FEATURE.VERSION_1, 12],
    [0n, 10],
  ] as const) {
    for (const length of [0, 1, header - 1, header]) {
      await withGuest(
        t,
        async (guest) => {
          guest.chain(guest.transmit, 0, guest.buffer(length, 1));
          const good = guest.buffer(header + 50, 6);
          guest.chain(guest.transmit, 1, good);
          guest.transmit.offer(0, 1);
          await guest.kick(1);
          t.match(guest.faults, [{ queue: 1, code: 'EINVAL' }], `${length} of ${header} bytes`);
          t.equal(guest.socket.sent.length, 0);
          await guest.kick(1);
          t.strictSame(
            guest.socket.sent.map((frame) => frame.length),
            [50],
            'the next one is sent',
          );
        },
        new HostileGuest(features),
      );
    }
  }
});

t.test('T36 a header in as many descriptors as it has bytes is a header', async (t) => {
  await withGuest(
    t,
    async (guest) => {
      const pieces = Array.from({ length: 12 }, () => guest.buffer(1, 0xee));
      guest.chain(guest.transmit, 0, ...pieces, guest.buffer(60, 2));
      guest.transmit.offer(0);
      await guest.kick(1);
      t.strictSame([...(guest.socket.sent[0] ?? [])], new Array(60).fill(2));
      const spaces = Array.from({ length: 12 }, () => guest.space(1));
      guest.chain(guest.receive, 0, ...spaces, guest.space(100));
      guest.receive.offer(0);
      guest.socket.feed(new Uint8Array(60).fill(3));
      await guest.kick(0);
      t.strictSame(guest.receive.usedEntry(0), { id: 0, length: 72 });
      const header = spaces.map(({ address }) => guest.arena.bytes(Number(address), 1)[0]);
      t.strictSame(header, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0], 'num_buffers is 1');
    },
    new HostileGuest(FEATURE.VERSION_1, 16),
  );
});

t.test('T38 what the guest changes after the device has looked has no effect', async (t) => {
  await withGuest(t, async (guest) => {
    const { transmit, socket } = guest;
    const frame = guest.goodFrame(5);
    transmit.setIndirect(0, guest.arena.allocate(16), [frame]);
    guest.chain(transmit, 1, guest.goodFrame(6));
    transmit.offer(0, 1);
    socket.meanwhile = () => {
      // The device is in the middle of sending: all that it decided by is pulled away.
      for (let index = 0; index < 8; index += 1) {
        transmit.setDescriptor(index, {
          address: 2n ** 40n,
          length: 0xffff_ffff,
          flags: 7,
          next: 99,
        });
        transmit.setAvailableEntry(index, 77);
      }
    };
    await guest.kick(1);
    t.strictSame(socket.sent, [new Uint8Array(60).fill(5), new Uint8Array(60).fill(6)]);
    t.strictSame(
      [transmit.usedEntry(0), transmit.usedEntry(1)],
      [
        { id: 0, length: 0 },
        { id: 1, length: 0 },
      ],
    );
    t.strictSame(guest.faults, []);
  });
});
