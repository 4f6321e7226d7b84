import { FEATURE } from '@rxvhost/core';
import { deviceAddresses } from '@rxvhost/guest';
import { EventFd } from '@rxvhost/sys';
import t, { type Test } from 'tap';
import { type ProtocolFeature, protocolFeatures, type SharedRegion } from '../src/index.js';
import { codes, makeBench, memoryRegion, negotiate, until } from './support/bench.js';
import { DRIVER_ADDRESS, type LoopedGuest, loopedGuest, MEMORY } from './support/looped-guest.js';

/** GPA_ADDRESSES: a front-end that has no addresses of its own for guest memory. */

const PROTOCOL: readonly ProtocolFeature[] = [
  'MQ',
  'REPLY_ACK',
  'BACKEND_REQ',
  'CONFIGURE_MEM_SLOTS',
  'GPA_ADDRESSES',
];
const makeEvent = () => new EventFd();

/** Rings at the driver's own addresses. */
async function start(guest: LoopedGuest<EventFd>): Promise<void> {
  for (const { index, queue, kick, call } of guest.nic.rings) {
    const addresses = deviceAddresses(queue);
    await guest.frontend.startQueue(index, { size: queue.size, addresses, kick, call });
  }
  guest.nic.start();
}

async function echoes(t: Test, guest: LoopedGuest<EventFd>): Promise<void> {
  guest.send(20);
  await until(t, 'frames come back', () => guest.checker.intact === 20);
  t.ok(guest.checker.flawless);
  t.same(guest.faults, []);
  t.same(codes(guest.errors), []);
}

function region(guest: LoopedGuest<EventFd>, guestAddress: number, userAddress: number) {
  const shared: SharedRegion = { guestAddress, userAddress, size: MEMORY, fd: guest.memory };
  return shared;
}

t.test('ring addresses are the guest’s, whatever is said of user addresses', async (t) => {
  for (const [what, userAddress] of [
    ['the same', DRIVER_ADDRESS],
    ['zero', 0],
    ['another', 0x7f00_0000_0000],
  ] as const) {
    await t.test(what, async (t) => {
      const guest = await loopedGuest(t, { protocol: PROTOCOL, makeEvent });
      const memory = region(guest, DRIVER_ADDRESS, userAddress);
      await guest.frontend.shareMemory([memory]);
      await start(guest);
      await echoes(t, guest);
      for (const { index } of guest.nic.rings) await guest.frontend.stopQueue(index);
      const { fd: _, ...numbers } = memory;
      await guest.frontend.request('REM_MEM_REG', { ...numbers, mmapOffset: 0 });
    });
  }
  await t.test('a whole table', async (t) => {
    const protocol: ProtocolFeature[] = ['REPLY_ACK', 'GPA_ADDRESSES'];
    const guest = await loopedGuest(t, { protocol, makeEvent });
    await guest.frontend.shareMemory([region(guest, DRIVER_ADDRESS, 0)]);
    await start(guest);
    await echoes(t, guest);
  });
});

t.test('a ring at an address that is only a user address is not found', async (t) => {
  const guest = await loopedGuest(t, { protocol: PROTOCOL, makeEvent });
  const away = 0x4000_0000;
  await guest.frontend.shareMemory([region(guest, DRIVER_ADDRESS + away, DRIVER_ADDRESS)]);
  await t.rejects(start(guest), { code: 'EFAULT' });
});

t.test(
  'B10 behind an IOMMU rings are at I/O virtual addresses, and lead to guest ones',
  async (t) => {
    const features = FEATURE.IOMMU_PLATFORM;
    const guest = await loopedGuest(t, { protocol: PROTOCOL, makeEvent, features, iommu: true });
    const away = 0x4000_0000;
    await guest.frontend.shareMemory([region(guest, DRIVER_ADDRESS + away, 0)]);
    await guest.frontend.openBackendChannel({
      translate(address) {
        if (guest.arena.regionOf(address) === undefined) return undefined;
        const page = address - (address % 4096);
        return { address: page, size: 4096, userAddress: page + away, access: 3 };
      },
    });
    await start(guest);
    await echoes(t, guest);
  },
);

t.test('what addresses mean cannot change under shared memory', async (t) => {
  const { frontend } = await makeBench(t);
  const plain = protocolFeatures('REPLY_ACK', 'CONFIGURE_MEM_SLOTS');
  const guests = plain | protocolFeatures('GPA_ADDRESSES');
  await negotiate(frontend, undefined, plain);
  await frontend.shareMemory([memoryRegion(t)]);
  await t.rejects(frontend.request('SET_PROTOCOL_FEATURES', guests), { code: 'EBUSY' });
  await frontend.request('SET_PROTOCOL_FEATURES', plain);
});
