/**
 * What a guest sees when its indirect tables break the rules, or its buffers are empty: hazards T33
 * and T34 against vhost-net, over rings that are written by hand.
 */
import { FEATURE } from '@rxvhost/core';
import t from 'tap';
import {
  DESCRIPTOR_INDIRECT,
  DESCRIPTOR_NEXT,
  DESCRIPTOR_WRITE,
  type HostileDescriptor,
} from '../src/index.js';
import { BORDER, HostileGuest } from './support/hostile-guest.js';
import { linked, withGuest } from './support/with-guest.js';

t.test('T33 indirect tables that the specification allows are followed', async (t) => {
  const cases: [string, (guest: HostileGuest, parts: HostileDescriptor[]) => void][] = [
    [
      'a table alone',
      (guest, parts) => {
        const table = guest.arena.allocate(16 * 3);
        guest.transmit.setIndirect(0, table, linked(parts));
      },
    ],
    [
      'a table behind direct descriptors',
      (guest, [first, ...rest]) => {
        guest.transmit.setDescriptor(0, {
          ...(first as HostileDescriptor),
          flags: DESCRIPTOR_NEXT,
          next: 1,
        });
        guest.transmit.setIndirect(1, guest.arena.allocate(16 * 2), linked(rest));
      },
    ],
    [
      'a table across two regions, a descriptor across their border',
      (guest, parts) => guest.transmit.setIndirect(0, BORDER - 24, linked(parts)),
    ],
    [
      'a WRITE flag on the descriptor that refers to the table means nothing',
      (guest, parts) => {
        guest.transmit.setIndirect(0, guest.arena.allocate(16 * 3), linked(parts));
        guest.transmit.setDescriptor(0, { flags: DESCRIPTOR_INDIRECT | DESCRIPTOR_WRITE });
      },
    ],
    [
      'a table longer than the queue, linked out of order',
      (guest, [first, second, third]) => {
        const blank = guest.buffer(0);
        const table = new Array<HostileDescriptor>(40).fill(blank);
        table[0] = { ...(first as HostileDescriptor), flags: DESCRIPTOR_NEXT, next: 39 };
        table[39] = { ...(second as HostileDescriptor), flags: DESCRIPTOR_NEXT, next: 20 };
        table[20] = third as HostileDescriptor;
        guest.transmit.setIndirect(0, guest.arena.allocate(16 * 40), table);
      },
    ],
  ];
  for (const [name, layOut] of cases) {
    await withGuest(t, async (guest) => {
      guest.arena.allocateAt(BORDER - 24, 24);
      layOut(guest, [guest.buffer(12), guest.buffer(30, 5), guest.buffer(30, 6)]);
      guest.transmit.offer(0);
      await guest.kick(1);
      t.strictSame(guest.faults, [], name);
      const frame = [...new Array(30).fill(5), ...new Array(30).fill(6)];
      t.strictSame([...(guest.socket.sent[0] ?? [])], frame);
    });
  }
});

t.test('T33 indirect tables that it forbids stop the queue alone', async (t) => {
  const refer = (fields: Partial<HostileDescriptor>) => (guest: HostileGuest) =>
    guest.transmit.setDescriptor(0, fields);
  const cases: [string, string, (guest: HostileGuest, table: number) => void][] = [
    ['length 0', 'EINVAL', refer({ length: 0 })],
    ['length no multiple of 16', 'EINVAL', refer({ length: 40 })],
    ['length 15', 'EINVAL', refer({ length: 15 })],
    ['more than 65535 entries', 'E2BIG', refer({ length: 16 * 65536 })],
    ['NEXT and INDIRECT', 'EINVAL', refer({ flags: DESCRIPTOR_INDIRECT | DESCRIPTOR_NEXT })],
    ['a table outside memory', 'EFAULT', refer({ address: 0x5_0000_0000n })],
    [
      'a table that ends outside memory',
      'EFAULT',
      refer({ address: BigInt(BORDER + 0x20_0000 - 16) }),
    ],
    ['a table at 2^64 - 16', 'EFAULT', refer({ address: 2n ** 64n - 16n })],
    [
      'a table in a table',
      'EINVAL',
      ({ transmit }, table) =>
        transmit.setIndirect(0, table, [
          { address: BigInt(table), length: 32, flags: DESCRIPTOR_INDIRECT, next: 0 },
        ]),
    ],
    [
      'a link out of the table',
      'EINVAL',
      (guest, table) =>
        guest.transmit.setIndirect(0, table, [
          { ...guest.buffer(40), flags: DESCRIPTOR_NEXT, next: 1 },
        ]),
    ],
    [
      'a loop in the table',
      'EINVAL',
      (guest, table) =>
        guest.transmit.setIndirect(0, table, [
          { ...guest.buffer(0), flags: DESCRIPTOR_NEXT, next: 1 },
          { ...guest.buffer(0), flags: DESCRIPTOR_NEXT, next: 0 },
        ]),
    ],
  ];
  for (const [name, code, spoil] of cases) {
    await withGuest(t, async (guest) => {
      const table = guest.arena.allocate(16 * 4);
      guest.transmit.setIndirect(0, table, linked([guest.buffer(12), guest.buffer(60, 1)]));
      spoil(guest, table);
      guest.transmit.offer(0);
      await guest.kick(1);
      t.match(guest.faults, [{ queue: 1, code }], name);
      t.equal(guest.socket.sent.length, 0);
    });
  }
  const plain = new HostileGuest(FEATURE.VERSION_1);
  await withGuest(
    t,
    async (guest) => {
      const table = guest.arena.allocate(16 * 2);
      guest.transmit.setIndirect(0, table, linked([guest.buffer(12), guest.buffer(60, 1)]));
      guest.transmit.offer(0);
      await guest.kick(1);
      t.match(guest.faults, [{ queue: 1, code: 'EINVAL' }], 'not negotiated');
    },
    plain,
  );
});

t.test('T34 buffers of zero bytes anywhere change nothing', async (t) => {
  const nothing: HostileDescriptor = { address: 2n ** 64n - 1n, length: 0, flags: 0, next: 0 };
  for (const [name, indirect] of [
    ['in the ring', false],
    ['in an indirect table', true],
  ] as const) {
    await withGuest(t, async (guest) => {
      const parts = [
        nothing,
        guest.buffer(5),
        nothing,
        guest.buffer(7),
        guest.buffer(60, 9),
        nothing,
      ];
      if (indirect) guest.transmit.setIndirect(0, guest.arena.allocate(16 * 6), linked(parts));
      else guest.chain(guest.transmit, 0, ...parts);
      guest.transmit.offer(0);
      await guest.kick(1);
      t.strictSame(guest.faults, [], name);
      t.strictSame([...(guest.socket.sent[0] ?? [])], new Array(60).fill(9));
    });
    await withGuest(t, async (guest) => {
      const spaces = [guest.space(12), { ...nothing, flags: DESCRIPTOR_WRITE }, guest.space(40)];
      if (indirect) guest.receive.setIndirect(0, guest.arena.allocate(16 * 3), linked(spaces));
      else guest.chain(guest.receive, 0, ...spaces);
      guest.receive.offer(0);
      guest.socket.feed(new Uint8Array(40).fill(8));
      await guest.kick(0);
      t.strictSame(guest.receive.usedEntry(0), { id: 0, length: 52 }, `${name}, received`);
      const last = Number(spaces[2]?.address);
      t.strictSame([...guest.arena.bytes(last, 40)], new Array(40).fill(8));
    });
    await withGuest(t, async (guest) => {
      const parts = [nothing, nothing, nothing];
      if (indirect) guest.transmit.setIndirect(0, guest.arena.allocate(16 * 3), linked(parts));
      else guest.chain(guest.transmit, 0, ...parts);
      guest.transmit.offer(0);
      await guest.kick(1);
      t.match(guest.faults, [{ queue: 1, code: 'EINVAL' }], `${name}, and nothing else: no frame`);
    });
  }
});
