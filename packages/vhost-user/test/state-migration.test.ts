import {
  ArrayBufferMapping,
  FEATURE,
  LocalEvent,
  link,
  NET_FEATURE,
  VhostNet,
} from '@rxvhost/core';
import {
  ControlCommand,
  GuestMemoryArena,
  GuestNic,
  macTable,
  plugIn,
  vringAddresses,
  word,
} from '@rxvhost/guest';
import { closeFd, createMemfd, EventFd, mapShared } from '@rxvhost/sys';
import t, { type Test } from 'tap';
import type { VhostUserFrontend } from '../src/index.js';
import { benchFor, until } from './support/bench.js';

/** A guest whose NIC moves to another back-end: what it has said on the control queue goes along. */

const MEMORY = 2 << 20;
const BASE = 0x10_0000;
const MAC = Uint8Array.of(2, 0, 0, 0, 0, 1);
const CHOSEN = Uint8Array.of(2, 0, 0, 0, 0, 7);
const GROUP = Uint8Array.of(1, 0, 0x5e, 0, 0, 1);
const FEATURES =
  FEATURE.VERSION_1 |
  NET_FEATURE.MAC |
  NET_FEATURE.CTRL_VQ |
  NET_FEATURE.CTRL_RX |
  NET_FEATURE.CTRL_VLAN |
  NET_FEATURE.CTRL_MAC_ADDR;

function frameTo(destination: Uint8Array, mark: number, vlan?: number): Uint8Array {
  const frame = new Uint8Array(60);
  frame.set(destination);
  frame.set(vlan === undefined ? [0x88, 0xb5] : [0x81, 0, 0, vlan, 0x88, 0xb5], 12);
  frame[59] = mark;
  return frame;
}

/** A NIC served to a front-end, and a guest at the other end of its cable, in this process. */
async function host(t: Test) {
  const [end, farEnd] = link();
  const bench = await benchFor(t, new VhostNet({ backends: end, mac: MAC, controlQueue: true }));
  const device = new VhostNet({ backends: farEnd });
  const mapping = new ArrayBufferMapping(new ArrayBuffer(MEMORY));
  const arena = new GuestMemoryArena([
    { guestAddress: BASE, userAddress: BASE, size: MEMORY, mapping },
  ]);
  const features = FEATURE.VERSION_1;
  const far = new GuestNic(arena, { features, queueSize: 64, makeEvent: () => new LocalEvent() });
  plugIn(device, far);
  far.start();
  t.teardown(async () => {
    await device.close();
    far.close();
    await bench.server.close();
    await bench.device.close();
  });
  return { ...bench, far };
}

/** The guest, which does not know of hosts, and its memory as a VMM shares it. */
function guest(t: Test) {
  const memory = createMemfd('state-migration', MEMORY);
  const mapping = mapShared(memory, 0, MEMORY);
  const shared = { guestAddress: BASE, userAddress: BASE, size: MEMORY };
  const arena = new GuestMemoryArena([{ ...shared, mapping }]);
  const options = { features: FEATURES, queueSize: 64, controlQueue: true };
  const nic = new GuestNic(arena, { ...options, makeEvent: () => new EventFd() });
  const received: number[] = [];
  nic.driver.frames$.subscribe((batch) => {
    for (const frame of batch) received.push(frame[59] ?? -1);
  });
  t.teardown(() => {
    nic.close();
    mapping.release();
    closeFd(memory);
  });
  const start = async (frontend: VhostUserFrontend, bases: readonly number[]): Promise<void> => {
    await frontend.shareMemory([{ ...shared, fd: memory }]);
    for (const { index, queue, kick, call } of nic.rings) {
      const addresses = vringAddresses(arena, queue);
      const base = bases[index] ?? 0;
      await frontend.startQueue(index, { size: queue.size, base, addresses, kick, call });
    }
  };
  return { nic, received, start };
}

t.test('a guest goes on elsewhere with its address, filters and VLANs', async (t) => {
  const [source, destination] = [await host(t), await host(t)];
  const { nic, received, start } = guest(t);
  await source.frontend.handshake({ features: FEATURES });
  await start(source.frontend, []);
  nic.start();
  const { control } = nic;
  if (control === undefined) throw new Error('no control queue');
  const obeyed = async (command: readonly [number, number], data: Uint8Array) =>
    t.ok(await control.command(command, data), `command ${command}`);
  await obeyed(ControlCommand.MAC_ADDRESS_SET, CHOSEN);
  await obeyed(ControlCommand.PROMISCUOUS, Uint8Array.of(0));
  await obeyed(ControlCommand.MAC_TABLE_SET, macTable([], [GROUP]));
  await obeyed(ControlCommand.VLAN_ADD, word(5));

  const arrives = async (at: typeof source, what: string): Promise<void> => {
    for (const frame of [
      frameTo(MAC, 1),
      frameTo(GROUP, 2),
      frameTo(CHOSEN, 3, 6),
      frameTo(CHOSEN, 4, 5),
      frameTo(CHOSEN, 5),
    ]) {
      at.far.driver.send(frame);
    }
    await until(t, what, () => received.at(-1) === 5);
    t.strictSame(received.splice(0), [2, 4, 5], what);
  };
  await arrives(source, 'at the source');

  const bases: number[] = [];
  for (const { index } of nic.rings) bases.push(await source.frontend.stopQueue(index));
  const state = await source.frontend.saveState();
  source.frontend.close();
  await source.server.closed;

  await destination.frontend.handshake({ features: 0n });
  await destination.frontend.loadState(state);
  await destination.frontend.request('SET_FEATURES', FEATURES | (1n << 30n));
  await start(destination.frontend, bases);
  await arrives(destination, 'at the destination');
  const { bytes } = await destination.frontend.request('GET_CONFIG', {
    offset: 0,
    flags: 0,
    bytes: new Uint8Array(6),
  });
  t.strictSame(new Uint8Array(bytes), CHOSEN, 'its configuration shows the chosen address');
  await obeyed(ControlCommand.VLAN_ADD, word(6));
  destination.far.driver.send(frameTo(CHOSEN, 9, 6));
  await until(t, 'and it goes on being obeyed', () => received.at(-1) === 9);
});

t.test('a destination that cannot take the guest says so, and the source goes on', async (t) => {
  const source = await host(t);
  const { nic, received, start } = guest(t);
  await source.frontend.handshake({ features: FEATURES });
  await start(source.frontend, []);
  nic.start();
  await nic.control?.command(ControlCommand.MAC_ADDRESS_SET, CHOSEN);
  const bases: number[] = [];
  for (const { index } of nic.rings) bases.push(await source.frontend.stopQueue(index));
  const state = await source.frontend.saveState();

  const small = await benchFor(t, new VhostNet({ mac: MAC }));
  await small.frontend.handshake({ features: 0n });
  await t.rejects(small.frontend.loadState(state), { code: 'EINVAL' }, 'it has no control queue');
  const other = await host(t);
  await other.frontend.handshake({ features: 0n });
  const broken = state.slice(0, -1);
  await t.rejects(other.frontend.loadState(broken), { code: 'EINVAL' }, 'it is cut off');
  t.strictSame(new Uint8Array(other.device.config.read(0, 6)), MAC, 'and nothing has changed');

  await start(source.frontend, bases);
  source.far.driver.send(frameTo(CHOSEN, 8));
  await until(t, 'frames arrive at the source again', () => received.at(-1) === 8);
  await small.server.close();
  await small.device.close();
});
