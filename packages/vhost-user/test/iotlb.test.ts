import { setTimeout as sleep } from 'node:timers/promises';
import {
  FEATURE,
  type IotlbAccess,
  type IotlbRange,
  loopback,
  type MemoryMapping,
  NullSocket,
  VhostNet,
} from '@rxvhost/core';
import {
  deviceAddresses,
  GuestMemoryArena,
  GuestNic,
  NumberedFrameChecker,
  NumberedFrames,
} from '@rxvhost/guest';
import { closeFd, createMemfd, EventFd, mapShared, sendWithFds, socketPair } from '@rxvhost/sys';
import t, { type Test } from 'tap';
import {
  BACKEND_MESSAGES,
  type BackendRequestHandlers,
  HEADER,
  IOTLB,
  MessageChannel,
  type ProtocolFeature,
  protocolFeatures,
  type ReceivedMessage,
  U64,
  VERSION,
} from '../src/index.js';
import {
  type Bench,
  benchFor,
  codes,
  FEATURES,
  negotiate,
  openFds,
  until,
} from './support/bench.js';

/** A guest behind an IOMMU, over vhost-user: its memory is a memfd, its addresses lead to it by page. */

t.setTimeout(120_000);

const MEMORY = 2 << 20;
const IOVA = 0x10_0000;
const GUEST_ADDRESS = 0x4000_0000;
const USER_ADDRESS = 0x7f12_3400_0000;
const PAGE = 4096;
const IOMMU_FEATURES = FEATURES | FEATURE.IOMMU_PLATFORM | FEATURE.EVENT_IDX;
const PROTOCOL: readonly ProtocolFeature[] = ['MQ', 'REPLY_ACK', 'BACKEND_REQ', 'CONFIG', 'STATUS'];

interface Machine extends Bench<VhostNet> {
  readonly nic: GuestNic<EventFd>;
  readonly arena: GuestMemoryArena;
  readonly frames: NumberedFrames;
  readonly checker: NumberedFrameChecker;
  readonly faults: string[];
  /** The page that the IOMMU has at an address. */
  translate(address: number): IotlbRange | undefined;
  /** The guest's driver comes up, and the VMM starts its rings. */
  start(): Promise<void>;
}

async function machine(t: Test, protocol = PROTOCOL): Promise<Machine> {
  const bench = await benchFor(t, new VhostNet({ backends: loopback(), iommu: true }));
  const { frontend, device } = bench;
  const memory = createMemfd('iommu-test', MEMORY);
  const mapping: MemoryMapping = mapShared(memory, 0, MEMORY);
  const region = { guestAddress: IOVA, userAddress: USER_ADDRESS, size: MEMORY, mapping };
  const arena = new GuestMemoryArena([region]);
  const nic = new GuestNic(arena, {
    features: IOMMU_FEATURES & ~(1n << 30n),
    queueSize: 64,
    makeEvent: () => new EventFd(),
  });
  t.teardown(() => {
    nic.close();
    mapping.release();
    closeFd(memory);
  });
  const checker = new NumberedFrameChecker();
  nic.driver.frames$.subscribe((batch) => {
    for (const frame of batch) checker.receive(frame);
  });
  const faults: string[] = [];
  device.errors$.subscribe(({ queue, error }) => faults.push(`${queue} ${error.code}`));
  await negotiate(frontend, IOMMU_FEATURES, protocolFeatures(...protocol));
  await frontend.shareMemory([{ ...region, guestAddress: GUEST_ADDRESS, fd: memory }]);
  const mac = new Uint8Array(6);
  return {
    ...bench,
    nic,
    arena,
    frames: new NumberedFrames(mac, mac),
    checker,
    faults,
    translate(address) {
      if (arena.regionOf(address) === undefined) return undefined;
      const page = address - (address % PAGE);
      return { address: page, size: PAGE, userAddress: page - IOVA + USER_ADDRESS, access: 3 };
    },
    async start() {
      for (const { index, queue, kick, call } of nic.rings) {
        const addresses = deviceAddresses(queue);
        await frontend.startQueue(index, { size: queue.size, addresses, kick, call });
      }
      nic.start();
    },
  };
}

t.test('B10 misses are asked over the back-end channel, and answered by updates', async (t) => {
  const guest = await machine(t);
  const asked = new Set<IotlbAccess>();
  await guest.frontend.openBackendChannel({
    translate(address, access) {
      asked.add(access);
      return guest.translate(address);
    },
  });
  await guest.start();
  for (let round = 1; round <= 10; round += 1) {
    for (let n = 0; n < 20; n += 1) guest.nic.driver.send(guest.frames.make(1000));
    await until(t, `round ${round}`, () => guest.checker.intact === 20 * round);
    await guest.frontend.invalidateIotlb(0, 0);
  }
  t.ok(guest.checker.flawless);
  t.same(asked, new Set([1, 2]));
  t.same(guest.faults, []);
  t.same(codes(guest.errors), []);
  const names = new Set(guest.trace.map(({ request }) => request));
  t.ok(names.has('BACKEND_IOTLB_MSG') && names.has('IOTLB_MSG'), 'both are in the trace');
});

t.test('B10 T16 a ring stops, and is told where, while its miss is unanswered', async (t) => {
  const guest = await machine(t);
  const [ours, theirs] = socketPair();
  t.teardown(() => closeFd(ours));
  await guest.frontend.request('SET_BACKEND_REQ_FD', undefined, [theirs]);
  closeFd(theirs);
  await guest.start();
  await until(t, 'the device asks', () =>
    guest.trace.some(({ request }) => request === 'BACKEND_IOTLB_MSG'),
  );
  for (const { index } of guest.nic.rings) t.equal(await guest.frontend.stopQueue(index), 0);
  t.same(codes(guest.errors), []);
});

t.test(
  'B10 what queues waited for before there was a channel is asked when it comes',
  async (t) => {
    const guest = await machine(t);
    await guest.start();
    guest.nic.driver.send(guest.frames.make(100));
    await sleep(20);
    t.equal(guest.checker.intact, 0);
    await guest.frontend.openBackendChannel({ translate: guest.translate });
    await until(t, 'the frame comes back', () => guest.checker.intact === 1);
  },
);

t.test('B10 T29 an acknowledged invalidation is in effect', async (t) => {
  const guest = await machine(t);
  let mapped = true;
  await guest.frontend.openBackendChannel({
    translate: (address) => (mapped ? guest.translate(address) : undefined),
  });
  await guest.start();
  guest.nic.driver.send(guest.frames.make(100));
  await until(t, 'it runs', () => guest.checker.intact === 1);
  mapped = false;
  const { usedRing } = guest.nic.ring(1).queue.addresses;
  await guest.frontend.invalidateIotlb(usedRing - (usedRing % PAGE), 2 * PAGE);
  const before = guest.arena.read(usedRing, 500);
  guest.nic.driver.send(guest.frames.make(100));
  guest.nic.ring(1).kick.signal();
  await until(t, 'refused', () => guest.faults.length > 0);
  t.same(guest.arena.read(usedRing, 500), before, 'the used ring is as it was');
  t.match(guest.faults, ['1 EFAULT']);
  await sleep(30);
  t.equal(guest.faults.length, 1, 'nobody asks again by himself');
  mapped = true;
  guest.nic.ring(1).kick.signal();
  await until(t, 'a kick tries again', () => guest.checker.intact === 2);
});

t.test('B10 IOTLB_MSG is always answered, and refuses what makes no sense', async (t) => {
  const guest = await machine(t, ['MQ', 'BACKEND_REQ']);
  await guest.frontend.updateIotlb({ address: 0, size: PAGE, userAddress: 0, access: 3 });
  await guest.frontend.invalidateIotlb(0, 0);
  const message = { address: 0n, size: 4096n, userAddress: 0n, access: 3, type: 2 };
  const everything = { ...message, address: 2n ** 64n - 1n, size: 2n ** 64n - 1n, type: 3 };
  await guest.frontend.request('IOTLB_MSG', everything);
  for (const [wrong, code] of [
    [{ size: 0n }, 'EINVAL'],
    [{ access: 0 }, 'EINVAL'],
    [{ type: 1 }, 'EINVAL'],
    [{ type: 5 }, 'EINVAL'],
    [{ address: 2n ** 60n }, 'EOVERFLOW'],
  ] as const) {
    await t.rejects(guest.frontend.request('IOTLB_MSG', { ...message, ...wrong }), { code });
  }
  const { frontend } = await benchFor(t, new VhostNet({ backends: new NullSocket() }));
  await negotiate(frontend);
  await t.rejects(frontend.request('IOTLB_MSG', message), { code: 'EFAULT' }, 'no IOMMU');
});

/** The raw other end of a back-end channel. */
async function rawChannel(t: Test, { frontend }: Machine) {
  const [ours, theirs] = socketPair();
  await frontend.request('SET_BACKEND_REQ_FD', undefined, [theirs]);
  closeFd(theirs);
  const channel = new MessageChannel(ours);
  t.teardown(() => channel.close());
  return channel;
}

t.test('B10 T16 a front-end that never reads its channel costs nothing', async (t) => {
  const guest = await machine(t);
  await rawChannel(t, guest);
  await guest.start();
  const ring = guest.nic.ring(1);
  for (let round = 0; round < 3000; round += 1) {
    ring.kick.signal();
    if (round % 10 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  await sleep(20);
  t.equal(await guest.frontend.request('GET_QUEUE_NUM', undefined), 1, 'and is served');
  t.same(codes(guest.errors), []);
});

t.test(
  'B10 T16 a front-end that breaks, floods or closes its channel loses only that',
  async (t) => {
    const reply = (request: number, flags: number, payload: Uint8Array) => {
      const head = HEADER.encode({ request, flags, size: payload.length });
      const bytes = new Uint8Array(head.length + payload.length);
      bytes.set(head);
      bytes.set(payload, head.length);
      return bytes;
    };
    const nothing = new Uint8Array(0);
    const cases: readonly (readonly [string, Uint8Array])[] = [
      ['a request', reply(1, VERSION, nothing)],
      ['an answer to nothing', reply(9, VERSION | 4, U64.encode(0n))],
      ['an answer of the wrong size', reply(1, VERSION | 4, nothing)],
      ['a flood', new Uint8Array(200_000).fill(0x41)],
      ['no more', nothing],
    ];
    for (const [name, bytes] of cases) {
      const guest = await machine(t);
      const channel = await rawChannel(t, guest);
      await guest.start();
      await until(t, 'the device asks', () =>
        guest.trace.some(({ request }) => request === 'BACKEND_IOTLB_MSG'),
      );
      const before = openFds();
      if (bytes.length === 0) channel.close();
      else sendWithFds(channel.fd, bytes, bytes.length > 1000 ? [channel.fd] : []);
      await until(
        t,
        `${name}: the channel is closed`,
        () => openFds() === before - (bytes.length === 0 ? 2 : 1),
      );
      const expected = bytes.length === 0 ? [] : [/SET_BACKEND_REQ_FD (EPROTO|EMSGSIZE)/];
      t.match(codes(guest.errors), expected, name);
      await guest.frontend.openBackendChannel({ translate: guest.translate });
      guest.nic.driver.send(guest.frames.make(100));
      await until(t, `${name}: a new channel serves`, () => guest.checker.intact === 1);
      channel.close();
    }
  },
);

t.test('B10 SET_BACKEND_REQ_FD takes a stream socket, and nothing else', async (t) => {
  const guest = await machine(t);
  const before = openFds();
  const port = new EventFd();
  const wrong = guest.frontend.request('SET_BACKEND_REQ_FD', undefined, [port.fd]);
  await t.rejects(wrong, { code: /^E/ });
  port.close();
  const none = guest.frontend.request('SET_BACKEND_REQ_FD', undefined);
  await t.rejects(none, { code: 'EINVAL' });
  t.equal(openFds(), before);
});

/** What comes over a channel, by number. */
async function messagesOf(t: Test, guest: Machine): Promise<number[]> {
  const channel = await rawChannel(t, guest);
  const seen: number[] = [];
  channel.messages$.subscribe(({ header, payload }: ReceivedMessage) => {
    seen.push(header.request);
    if (header.request === BACKEND_MESSAGES.BACKEND_IOTLB_MSG.id) IOTLB.decode(payload);
  });
  return seen;
}

t.test('T62 a change of the link is told only where a channel and CONFIG were given', async (t) => {
  const handled: BackendRequestHandlers & { changes: number } = {
    changes: 0,
    configChanged() {
      this.changes += 1;
    },
  };
  const guest = await machine(t);
  guest.device.setLink(false); // nobody to tell
  await guest.frontend.openBackendChannel(handled);
  guest.device.setLink(true);
  guest.device.setLink(true);
  await until(t, 'told', () => handled.changes === 1);
  const status = { offset: 6, flags: 0, bytes: new Uint8Array(2) };
  const { bytes } = await guest.frontend.request('GET_CONFIG', status);
  t.same([...bytes], [1, 0]);

  const without = await machine(t, ['MQ', 'REPLY_ACK', 'BACKEND_REQ']);
  const seen = await messagesOf(t, without);
  without.device.setLink(false);
  await without.start();
  await until(t, 'misses are told', () => seen.length > 0);
  t.notOk(seen.includes(BACKEND_MESSAGES.BACKEND_CONFIG_CHANGE_MSG.id), 'without CONFIG it is not');
});
