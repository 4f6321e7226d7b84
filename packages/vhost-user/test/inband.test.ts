import { LocalEvent } from '@rxvhost/core';
import { deviceAddresses } from '@rxvhost/guest';
import { closeFd, EventFd, socketPair } from '@rxvhost/sys';
import t, { type Test } from 'tap';
import {
  BackendChannelPeer,
  MessageChannel,
  type ProtocolFeature,
  protocolFeatures,
  type QueueSetup,
  type ReceivedMessage,
  U64,
  VERSION,
} from '../src/index.js';
import {
  codes,
  FEATURES,
  makeBench,
  memoryRegion,
  negotiate,
  openFds,
  ringAddresses,
  until,
} from './support/bench.js';
import { DRIVER_ADDRESS, loopedGuest, MEMORY } from './support/looped-guest.js';

/** In-band notifications: kicks, calls and errors as messages. */

const PROTOCOL: readonly ProtocolFeature[] = ['REPLY_ACK', 'BACKEND_REQ', 'INBAND_NOTIFICATIONS'];
const NEED_REPLY = VERSION | 8;

/** A guest without any eventfd. */
async function eventlessGuest(t: Test) {
  const guest = await loopedGuest(t, { protocol: PROTOCOL, makeEvent: () => new LocalEvent() });
  const region = { guestAddress: DRIVER_ADDRESS, userAddress: DRIVER_ADDRESS, size: MEMORY };
  await guest.frontend.shareMemory([{ ...region, fd: guest.memory }]);
  for (const { index, queue, kick } of guest.nic.rings) {
    const addresses = deviceAddresses(queue);
    const setup: QueueSetup = { size: queue.size, addresses, kick: 'in-band', call: 'in-band' };
    await guest.frontend.startQueue(index, setup);
    kick.events$.subscribe(() => void guest.frontend.kickQueue(index));
  }
  return guest;
}

t.test('kicks and calls as messages carry frames both ways', async (t) => {
  const guest = await eventlessGuest(t);
  const called = [0, 0];
  await guest.frontend.openBackendChannel({
    called(index) {
      called[index] = (called[index] ?? 0) + 1;
      guest.nic.ring(index).call.signal();
    },
  });
  guest.nic.start();
  for (let round = 1; round <= 10; round += 1) {
    guest.send(20);
    await until(t, `round ${round}`, () => guest.checker.intact === 20 * round);
  }
  t.ok(guest.checker.flawless);
  t.ok((called[0] ?? 0) > 0, 'it was called');
  t.same(codes(guest.errors), []);
  const names = new Set(guest.trace.map(({ request }) => request));
  t.ok(names.has('VRING_KICK') && names.has('BACKEND_VRING_CALL'), 'both are in the trace');
});

t.test('a call from before there was a channel is not lost', async (t) => {
  const guest = await eventlessGuest(t);
  guest.nic.start();
  guest.send(5);
  await until(
    t,
    'the device has served it',
    () => guest.device.statistics().queues[0]?.frames === 5,
  );
  t.equal(guest.checker.intact, 0, 'the driver has not looked');
  await guest.frontend.openBackendChannel({
    called: (index) => guest.nic.ring(index).call.signal(),
  });
  await until(t, 'the frames are there', () => guest.checker.intact === 5);
});

t.test('a fault is told as a message, one at a time for each ring', async (t) => {
  const guest = await eventlessGuest(t);
  const [ours, theirs] = socketPair();
  const channel = new MessageChannel(ours);
  t.teardown(() => channel.close());
  const received: ReceivedMessage[] = [];
  channel.messages$.subscribe((message) => received.push(message));
  await guest.frontend.request('SET_BACKEND_REQ_FD', undefined, [theirs]);
  closeFd(theirs);
  const { queue } = guest.nic.ring(1);
  const breakRing = async () => {
    guest.arena.writeUint16(queue.addresses.availableRing + 2, 1000);
    await guest.frontend.kickQueue(1);
  };
  await breakRing();
  const errors = () => received.filter(({ header }) => header.request === 5);
  await until(t, 'it is told', () => errors().length === 1);
  t.equal(errors()[0]?.header.flags, NEED_REPLY);
  t.strictSame(errors()[0]?.payload, Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0));
  for (let again = 0; again < 5; again += 1) await breakRing();
  t.equal(errors().length, 1, 'once more only after an answer');
  await channel.send({ request: 5, flags: VERSION | 4 }, U64.encode(0n));
  await until(t, 'then once for all that came', () => errors().length === 2);
  t.equal(guest.faults.length, 6, 'each was reported here');
});

t.test(
  'a message starts a ring, an eventfd is preferred, and a stop makes both void',
  async (t) => {
    const { frontend, device, errors } = await makeBench(t);
    await negotiate(frontend, FEATURES, protocolFeatures(...PROTOCOL));
    await frontend.shareMemory([memoryRegion(t)]);
    const setup = { size: 256, addresses: ringAddresses(0) };
    await frontend.startQueue(0, { ...setup, kick: 'in-band', call: 'in-band' });
    t.equal(device.queue(0).mode, 'stopped', 'nothing has kicked it');
    await frontend.kickQueue(0);
    t.equal(device.queue(0).mode, 'running');
    t.equal(device.queue(0).looks, 1);
    await frontend.kickQueue(0);
    t.equal(device.queue(0).looks, 2, 'looked when the kick is acknowledged');
    const kick = new EventFd();
    t.teardown(() => kick.close());
    await frontend.request('SET_VRING_KICK', { index: 0, hasFd: true }, [kick.fd]);
    const { looks } = device.queue(0);
    await frontend.kickQueue(0);
    t.equal(device.queue(0).looks, looks);
    kick.signal();
    await until(t, 'the eventfd is heard', () => device.queue(0).looks === looks + 1);
    await frontend.stopQueue(0);
    t.equal(device.queue(0).mode, 'stopped');
    await frontend.enableQueue(0, true);
    t.equal(device.queue(0).mode, 'stopped');
    await frontend.kickQueue(0);
    t.equal(device.queue(0).mode, 'running', 'and the next message starts it again');
    await t.rejects(frontend.request('VRING_KICK', { index: 2, num: 0 }), { code: 'ENOBUFS' });
    await t.rejects(frontend.request('VRING_KICK', { index: 0, num: 1 }), { code: 'EINVAL' });
    t.same(codes(errors), ['VRING_KICK ENOBUFS', 'VRING_KICK EINVAL']);
  },
);

t.test('an eventfd, or no call at all, takes the place of messages', async (t) => {
  const { frontend, device } = await makeBench(t);
  await negotiate(frontend, FEATURES, protocolFeatures(...PROTOCOL));
  const inBand = device.queue(0).call;
  t.ok(inBand);
  await frontend.request('SET_VRING_CALL', { index: 0, hasFd: false });
  t.equal(device.queue(0).call, undefined, 'the guest polls');
  t.ok(device.queue(1).call);
  await frontend.request('SET_PROTOCOL_FEATURES', protocolFeatures('REPLY_ACK'));
  t.equal(device.queue(1).call, undefined, 'no messages where they were not negotiated');
  t.equal(device.queue(1).error, undefined);
});

t.test('in-band notifications without what they need end the connection', async (t) => {
  for (const lacking of ['REPLY_ACK', 'BACKEND_REQ'] as const) {
    const { frontend, errors, server } = await makeBench(t);
    const features = protocolFeatures(...PROTOCOL.filter((name) => name !== lacking));
    const message = { request: 16, flags: NEED_REPLY, payload: U64.encode(features) };
    await t.rejects(frontend.exchange({ ...message, expectReply: true }), { code: 'ECONNRESET' });
    await server.closed;
    t.same(codes(errors), ['SET_PROTOCOL_FEATURES EPROTO'], `without ${lacking}`);
  }
});

t.test('a front-end refuses a notifier of the host’s, and keeps nothing of it', async (t) => {
  const before = openFds();
  // What a back-end could send: ring 0 with an area to write kicks to, and its file.
  const backend = backendOf(t);
  const area = new Uint8Array(24);
  new DataView(area.buffer).setBigUint64(8, 4096n, true);
  const event = new EventFd();
  t.teardown(() => event.close());
  for (const fds of [[], [event.fd]]) {
    const answer = await backend.ask(3, area, fds);
    t.equal(U64.decode(answer), 95n, 'EOPNOTSUPP');
  }
  t.equal(U64.decode(await backend.ask(6, new Uint8Array(16), [])), 95n, 'nor a shared object');
  t.equal(openFds(), before + 3, 'the pair of sockets and the eventfd');
  t.notOk(backend.peer.closed);
});

/** A back-end's end of a channel, by hand, with a peer as a front-end has it. */
function backendOf(t: Test) {
  const [ours, theirs] = socketPair();
  const peer = new BackendChannelPeer(ours, {}, async () => undefined);
  const channel = new MessageChannel(theirs);
  t.teardown(() => {
    peer.close();
    channel.close();
  });
  return {
    peer,
    ask: (request: number, payload: Uint8Array, fds: readonly number[]) =>
      new Promise<Uint8Array>((resolve) => {
        const reading = channel.messages$.subscribe((message) => {
          reading.unsubscribe();
          resolve(message.payload);
        });
        void channel.send({ request, flags: NEED_REPLY }, payload, fds);
      }),
  };
}
