/**
 * Hazard T43: a hostile guest beside an honest one in the same thread. What the honest one's front-end
 * asks is measured in turns of the event loop, which no other load on the machine changes.
 */
import { loopback, NullSocket, VhostNet } from '@rxvhost/core';
import { HostileQueue } from '@rxvhost/guest';
import { NativeCopier } from '@rxvhost/sys';
import t, { type Test } from 'tap';
import { serve } from '../src/index.js';
import { socketPath } from './support/listening.js';
import { TestVm } from './support/test-vm.js';
import { bootVm } from './support/worker-vm.js';

const QUEUE_SIZE = 64;
const LIVES = 5;
const FRAMES = 20;
const INDIRECT_ENTRIES = 128;

/** What a hostile guest does in every turn of the event loop. */
type Hostility = (vm: TestVm, transmit: HostileQueue) => void;

const HOSTILITIES: Record<string, Hostility> = {
  'kicks as fast as it can': (vm) => kick(vm, 200),
  'keeps its ring full of the longest chains': (vm, transmit) => {
    if (transmit.availableIndex === 0) describeLongChains(vm, transmit);
    transmit.availableIndex = transmit.usedIndex + QUEUE_SIZE;
    kick(vm, 2);
  },
  'offers chains without an end': (vm, transmit) => {
    for (let head = 0; head < QUEUE_SIZE; head += 1) {
      transmit.setDescriptor(head, { address: 0x10_0000n, length: 1, flags: 1, next: head });
    }
    transmit.availableIndex = transmit.usedIndex + QUEUE_SIZE;
    kick(vm, 2);
  },
  'writes any available index': (vm, transmit) => {
    transmit.availableIndex = Math.floor(Math.random() * 0x1_0000);
    kick(vm, 2);
  },
};

function kick(vm: TestVm, times: number): void {
  for (let k = 0; k < times; k += 1) vm.nic.ring(1).kick.signal();
}

function describeLongChains(vm: TestVm, transmit: HostileQueue): void {
  const address = BigInt(vm.arena.allocate(0x1000, 16));
  const entries = Array.from({ length: INDIRECT_ENTRIES }, (_, index) => ({
    address,
    length: 32,
    flags: index === INDIRECT_ENTRIES - 1 ? 0 : 1,
    next: index + 1,
  }));
  const table = vm.arena.allocate(INDIRECT_ENTRIES * 16, 16);
  for (let head = 0; head < QUEUE_SIZE; head += 1) {
    transmit.setIndirect(head, table, entries);
    transmit.setAvailableEntry(head, head);
  }
}

/** Turns that an honest VM takes to come up, send and receive, stop and go, several times over. */
async function turnsOfLives(t: Test, path: string, everyTurn: () => void): Promise<number> {
  let turns = 0;
  let over = false;
  const turn = () => {
    if (over) return;
    turns += 1;
    everyTurn();
    setImmediate(turn);
  };
  setImmediate(turn);
  for (let life = 0; life < LIVES; life += 1) {
    const vm = await bootVm(t, path);
    vm.send(FRAMES);
    // No timers: only turns count.
    while (vm.received.intact < FRAMES) await new Promise((resolve) => setImmediate(resolve));
    await vm.frontend?.stopQueue(0);
    await vm.frontend?.stopQueue(1);
    vm.disconnect();
  }
  over = true;
  return turns;
}

for (const [what, hostility] of Object.entries(HOSTILITIES)) {
  t.test(`T43 a front-end is answered in as many turns beside a guest that ${what}`, async (t) => {
    const [hostilePath, honestPath] = [socketPath(t), socketPath(t)];
    const hostile = new VhostNet({ backends: new NullSocket() });
    const honest = new VhostNet({ backends: loopback({ copier: new NativeCopier() }) });
    const servers = [
      await serve(hostile, { socketPath: hostilePath }),
      await serve(honest, { socketPath: honestPath }),
    ];
    const vm = new TestVm(QUEUE_SIZE);
    t.teardown(async () => {
      vm.close();
      for (const server of servers) await server.close();
      await hostile.close();
      await honest.close();
    });
    await vm.connect(hostilePath);
    await vm.startRings();
    const quiet = await turnsOfLives(t, honestPath, () => {});
    const { queue } = vm.nic.ring(1);
    const transmit = new HostileQueue(vm.arena, QUEUE_SIZE, queue.addresses);
    const beside = await turnsOfLives(t, honestPath, () => hostility(vm, transmit));
    const [, { kicks = 0, errors = 0, frames = 0 } = {}] = hostile.statistics().queues;
    t.comment(
      `${quiet} turns, ${beside} beside ${kicks} kicks, ${frames} frames, ${errors} faults`,
    );
    t.ok(kicks > LIVES, 'it was hostile');
    t.ok(beside <= 2 * quiet + 20, `${quiet} turns alone, ${beside} beside it`);
  });
}
