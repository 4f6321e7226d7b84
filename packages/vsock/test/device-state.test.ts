/** A vsock's state as bytes: what its driver must hear of elsewhere, and what is broken is refused. */
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FEATURE, MAX_STATE_BYTES, StateWriter, VhostError, VhostNet } from '@rxvhost/core';
import { GuestMemoryArena } from '@rxvhost/guest';
import { closeFd, createMemfd, EventFd, mapShared } from '@rxvhost/sys';
import {
  protocolFeatures,
  VHOST_USER_F_PROTOCOL_FEATURES,
  VhostUserFrontend,
  VhostUserServer,
} from '@rxvhost/vhost-user';
import fc from 'fast-check';
import t, { type Test } from 'tap';
import {
  GuestVsock,
  HOST_CID,
  Operation,
  PacketHeader,
  PacketType,
  readVsockState,
  VhostVsock,
  Vsock,
  VsockCard,
  VsockEndpoint,
  VsockFeature,
  type VsockState,
  writeVsockState,
} from '../src/index.js';
import { ScriptedEndpoint } from './support/scripted-endpoint.js';
import { until } from './support/until.js';
import { GUEST_CID, settle, VsockGuest } from './support/vsock-guest.js';

t.setTimeout(120_000);

const FEATURES = FEATURE.VERSION_1 | FEATURE.EVENT_IDX;
const STATE: VsockState = {
  features: FEATURES,
  guestCid: GUEST_CID,
  driver: true,
  resetPending: false,
};

function newDevice(t: Test, guestCid = GUEST_CID, seqpacket = true) {
  const endpoint = new ScriptedEndpoint();
  const device = new VhostVsock({ guestCid, endpoint, seqpacket });
  t.teardown(() => device.close());
  return { endpoint, device };
}

const newGuest = (rings = 0n) => new VsockGuest(FEATURES | rings);
const LAYOUTS = [
  ['split rings', 0n],
  ['packed rings', FEATURE.RING_PACKED],
] as const;

const packet = () =>
  Object.assign(new PacketHeader(), {
    sourceCid: GUEST_CID,
    destinationCid: HOST_CID,
    type: PacketType.STREAM,
    operation: Operation.RW,
  });

function stop(device: VhostVsock): number[] {
  for (const index of [0, 1, 2]) device.runQueue(index, 'stopped');
  return [0, 1, 2].map((index) => device.vringBase(index));
}

for (const [layout, rings] of LAYOUTS) {
  t.test(
    `${layout}: D6 T76 a guest that moves is told once that its connections are gone`,
    async (t) => {
      const source = newDevice(t);
      const guest = newGuest(rings);
      guest.plugInto(source.device);
      guest.give(2, [4]);
      guest.send(packet());
      await settle();
      const bases = stop(source.device);
      t.same(
        bases,
        [0, 1, 0].map((chains) => guest.baseAfter(chains)),
      );
      const state = source.device.saveState();
      t.same(source.device.saveState(), state, 'saving changes nothing');

      const destination = newDevice(t);
      destination.device.setOwner();
      destination.device.loadState(state);
      destination.device.setFeatures(FEATURES | rings);
      t.equal(
        destination.endpoint.resets.length,
        1,
        'whoever waited for another guest hears of it',
      );
      guest.continueOn(destination.device, bases);
      await settle();
      t.same(guest.takeBytes(2), Buffer.alloc(4), 'the event of a transport reset');
      guest.give(2, [4]);
      await settle();
      t.equal(guest.takeBytes(2), undefined, 'once');
      t.equal(destination.endpoint.resets.length, 1, 'connections that began here live on');

      guest.continueOn(source.device, stop(destination.device));
      await settle();
      t.equal(
        source.endpoint.resets.length,
        0,
        'where it stays after all, its connections do, too',
      );
    },
  );

  t.test(
    `${layout}: T76 what the rings do not show goes along, and only that is told`,
    async (t) => {
      const told = async (state: Partial<VsockState>, guestCid = GUEST_CID) => {
        const { device } = newDevice(t, guestCid);
        const guest = newGuest(rings);
        device.setOwner();
        device.loadState(writeVsockState({ ...STATE, driver: false, ...state }));
        device.setFeatures(FEATURES | rings);
        guest.continueOn(
          device,
          [0, 1, 2].map(() => guest.baseAfter(0)),
        );
        guest.give(2, [4]);
        await settle();
        return guest.takeBytes(2) !== undefined;
      };
      t.ok(await told({ driver: true }), 'a driver whose rings are at their beginning once more');
      t.ok(await told({ resetPending: true }), 'an event that there was no buffer for');
      t.ok(await told({}, GUEST_CID + 1), 'another address');
      t.notOk(await told({}), 'a guest that has no driver yet');

      const { device } = newDevice(t);
      device.setOwner();
      t.match(readVsockState(device.saveState()), { driver: false, resetPending: false });
      device.resetTransport();
      t.match(readVsockState(device.saveState()), { guestCid: GUEST_CID, resetPending: true });
      await device.reset();
      device.setOwner();
      t.match(readVsockState(device.saveState()), { resetPending: false }, 'of this guest only');
    },
  );
}

/** What reading throws; undefined when it is read. */
function refusal(bytes: Uint8Array): string | undefined {
  try {
    readVsockState(bytes);
    return undefined;
  } catch (error) {
    if (error instanceof VhostError) return error.code;
    throw error;
  }
}

t.test('T76 no byte of a state may be missing, added or changed', async (t) => {
  fc.assert(
    fc.property(
      fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
      fc.integer({ min: 3, max: 0xffff_fffe }),
      fc.boolean(),
      fc.boolean(),
      (features, guestCid, driver, resetPending) => {
        const state = { features, guestCid, driver, resetPending };
        t.same(readVsockState(writeVsockState(state)), state);
      },
    ),
    { numRuns: 50 },
  );
  const good = writeVsockState(STATE);
  const refused = new Set<string | undefined>();
  for (let length = 0; length < good.length; length += 1) {
    refused.add(refusal(good.subarray(0, length)));
  }
  refused.add(refusal(new Uint8Array([...good, 0])));
  refused.add(refusal(new Uint8Array(MAX_STATE_BYTES)));
  for (let bit = 0; bit < 8 * good.length; bit += 1) {
    const broken = good.slice();
    broken[bit >> 3] = (broken[bit >> 3] as number) ^ (1 << (bit & 7));
    refused.add(refusal(broken));
  }
  t.same([...refused], ['EINVAL']);
});

t.test('T76 what is whole but no vsock’s, or not a sound one, is refused as well', async (t) => {
  const { device, endpoint } = newDevice(t, GUEST_CID, false);
  device.setOwner();
  const nic = new VhostNet();
  nic.setOwner();
  const body = (words: readonly number[], kind = { device: 19, version: 1 }) => {
    const writer = new StateWriter();
    for (const word of words) writer.u8(word);
    return writer.finish(kind);
  };
  const sound = [0, 0, 0, 0, 1, 0, 0, 0, 42, 0, 0, 0, 1, 0];
  device.loadState(body(sound));
  const resets = endpoint.resets.length;
  for (const [what, state] of [
    ['a NIC’s', nic.saveState()],
    ['of a later version', body(sound, { device: 19, version: 2 })],
    ['with a rest', body([...sound, 0])],
    ['too short', body(sound.slice(1))],
    ['neither yes nor no', body([...sound.slice(0, 13), 2])],
    ['the host’s CID', body([...sound.slice(0, 8), 2, 0, 0, 0, 1, 0])],
    ['nobody’s CID', body([...sound.slice(0, 8), 255, 255, 255, 255, 1, 0])],
    ['seqpacket', writeVsockState({ ...STATE, features: VsockFeature.SEQPACKET })],
    ['unknown features', writeVsockState({ ...STATE, features: 1n << 63n })],
  ] as const) {
    t.throws(() => device.loadState(state), { code: 'EINVAL' }, what);
  }
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
      const found = refusal(body([...bytes]));
      return found === 'EINVAL' || (found === undefined && bytes.length === sound.length);
    }),
  );
  t.equal(endpoint.resets.length, resets, 'nothing has changed');
  t.equal(device.guestCid, GUEST_CID);
  await nic.close();
});

t.test('T76 a state is of a device with an owner that stands still', async (t) => {
  const { device } = newDevice(t);
  t.throws(() => device.saveState(), { code: 'EPERM' });
  t.throws(() => device.loadState(writeVsockState(STATE)), { code: 'EPERM' });
  newGuest().plugInto(device);
  t.throws(() => device.saveState(), { code: 'EBUSY' });
  t.throws(() => device.loadState(writeVsockState(STATE)), { code: 'EBUSY' });
  stop(device);
  device.loadState(device.saveState());
});

const MEMORY_SIZE = 16 << 20;
const PLACE = { guestAddress: 0x10_0000, userAddress: 0x7f00_0000_0000, size: MEMORY_SIZE };

/** A host with a vsock for a guest, and a VMM that is connected to it. */
function newHost(t: Test, guestCid: number) {
  const directory = mkdtempSync(join(tmpdir(), 'vsock-'));
  const endpoint = new VsockEndpoint({ cid: HOST_CID });
  const device = new VhostVsock({ guestCid, endpoint });
  const path = join(directory, 'vsock.sock');
  const server = new VhostUserServer(device, { socketPath: path });
  const front = VhostUserFrontend.connect(path);
  t.teardown(async () => {
    front.close();
    await server.close();
    await device.close();
    rmSync(directory, { recursive: true });
  });
  return { front, device, sockets: new Vsock(endpoint) };
}

t.test('D6 T76 over vhost-user a guest goes on elsewhere, by another address', async (t) => {
  const hosts = [newHost(t, 42), newHost(t, 43)] as const;
  const [source, destination] = hosts;
  for (const [index, { sockets }] of hosts.entries()) {
    sockets.createServer((socket) => socket.end(`host ${index}`)).listen(80);
    sockets.createServer((socket) => socket.on('error', () => {})).listen(81);
  }
  const memfd = createMemfd('vsock-moves', MEMORY_SIZE);
  const memory = mapShared(memfd, 0, MEMORY_SIZE);
  const arena = new GuestMemoryArena([{ ...PLACE, mapping: memory }]);
  const card = new VsockCard(arena, { makeEvent: () => new EventFd() });
  let { front } = source;
  const start = async (bases: readonly number[]) => {
    await front.shareMemory([{ ...PLACE, fd: memfd }]);
    for (const { index, queue, addresses, kick, call } of card.rings) {
      const base = bases[index] ?? queue.initialBase;
      await front.startQueue(index, { size: queue.size, base, addresses, kick, call });
    }
  };
  const { features, protocolFeatures: agreed } = await front.handshake({ features: card.features });
  t.ok((agreed & protocolFeatures('DEVICE_STATE')) !== 0n, 'DEVICE_STATE is offered');
  await start([]);
  const ask = { offset: 0, flags: 0, bytes: new Uint8Array(8) };
  const guest = await GuestVsock.probe(
    arena,
    card.device(features, {
      readConfig: async () => (await front.request('GET_CONFIG', ask)).bytes,
      reset: () => {},
    }),
  );
  t.teardown(async () => {
    await guest.remove();
    for (const { front } of hosts) front.close();
    card.close();
    memory.release();
    closeFd(memfd);
  });
  const answer = async () => {
    const socket = guest.sockets.connect({ cid: HOST_CID, port: 80 });
    const [bytes] = await once(socket, 'data');
    return `${bytes}`;
  };
  t.equal(await answer(), 'host 0');
  const open = guest.sockets.connect({ cid: HOST_CID, port: 81 });
  await once(open, 'connect');
  const gone = once(open, 'error');

  const bases: number[] = [];
  for (const { index } of card.rings) bases.push(await front.stopQueue(index));
  const state = await front.saveState();
  ({ front } = destination);
  await front.handshake({ features: 0n });
  await t.rejects(front.loadState(state.slice(0, -1)), { code: 'EINVAL' });
  const nic = new VhostNet();
  nic.setOwner();
  await t.rejects(front.loadState(nic.saveState()), { code: 'EINVAL' }, 'a NIC’s');
  await nic.close();
  await front.loadState(state);
  await front.request('SET_FEATURES', features | VHOST_USER_F_PROTOCOL_FEATURES);
  await start(bases);
  const [error] = await gone;
  t.equal(error.code, 'ECONNRESET');
  await until('it reads its new address', () => guest.endpoint.cid === 43);
  t.equal(await answer(), 'host 1');
  t.equal(guest.counters.transportResets, 1);
  await t.rejects(front.saveState(), { code: 'EBUSY' }, 'while its rings run');
});
