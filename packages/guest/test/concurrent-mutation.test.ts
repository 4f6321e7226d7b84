/**
 * T38 with real concurrency: a guest whose second CPU, a worker thread with a mapping of its own,
 * rewrites the ring while the device walks it. Needs shared memory, so `@rxvhost/sys`; no root.
 */
import { Worker } from 'node:worker_threads';
import { FEATURE, LocalEvent, loopback, VhostNet } from '@rxvhost/core';
import { closeFd, createMemfd, mapShared } from '@rxvhost/sys';
import t from 'tap';
import {
  GuestMemoryArena,
  HostileQueue,
  NumberedFrameChecker,
  NumberedFrames,
  vringAddresses,
} from '../src/index.js';
import { plainRegion } from './support/arena.js';
import { GuardedMemory } from './support/guarded-memory.js';
import { plugHonestPair } from './support/honest-pair.js';
import { turn, until } from './support/nics.js';
import type { ScribblerTask } from './support/scribbler.js';
import { SuspiciousSocket } from './support/suspicious-socket.js';

const QUEUE_SIZE = 16;
const TABLE_ENTRIES = 8;
/** How long the two race, in milliseconds. */
const RACE = 1500;
const LOW = 0x10_0000;
t.setTimeout(60_000);

t.test('T38 a ring that another CPU rewrites all the time leads the device nowhere', async (t) => {
  let memfd = -1;
  const places = [
    { guestAddress: LOW, userAddress: 0x7f00_0000_0000, size: 16384 },
    { guestAddress: LOW + 16384, userAddress: 0x7e00_0000_0000, size: 16384 },
  ];
  const memory = new GuardedMemory(places, (size) => {
    memfd = createMemfd('guest', Math.ceil(size / 4096) * 4096);
    return mapShared(memfd, 0, Math.ceil(size / 4096) * 4096);
  });
  const [region] = memory.regions;
  if (region === undefined) throw new Error('there is a region');
  const guest = new GuestMemoryArena(memory.regions);
  const queue = new HostileQueue(guest, QUEUE_SIZE);
  const table = guest.allocate(16 * TABLE_ENTRIES);
  const frame = guest.allocate(4096);
  const honestMemory = plainRegion(2 ** 40, 0x3300_0000_0000, 1 << 18);

  const socket = new SuspiciousSocket(memory, 0);
  const device = new VhostNet({ backends: [socket, loopback()] });
  let faults = 0;
  device.errors$.subscribe(() => {
    faults += 1;
  });
  device.setOwner();
  device.setFeatures(FEATURE.VERSION_1 | FEATURE.INDIRECT_DESC);
  device.setMemoryRegions([...memory.regions, honestMemory]);
  const kick = new LocalEvent();
  const { descriptorTable, availableRing } = queue.addresses;
  device.setVringSize(1, QUEUE_SIZE);
  device.setVringAddresses(1, vringAddresses(guest, queue));
  device.setVringKick(1, kick);
  device.runQueue(1, 'running');
  const checker = new NumberedFrameChecker();
  const honest = plugHonestPair(device, 1, new GuestMemoryArena([honestMemory]), checker);
  const frames = new NumberedFrames(new Uint8Array(6), new Uint8Array(6));

  const task: ScribblerTask = {
    fd: memfd,
    size: region.mapping.size,
    addresses: [
      [frame, 0],
      [LOW + 16384 - 10, 0],
      [LOW + 32768 - 10, 0],
      [LOW - 8, 0],
      [table, 0],
      [0xffff_fff0, 0xffff_ffff],
    ],
    lengths: [0, 12, 72, 100, 1000, 16 * TABLE_ENTRIES, 0x7fff_ffff, 0xffff_ffff],
    flags: [0, 0, 0, 1, 2, 4, 5],
    tables: [
      { offset: memory.offsetOf(descriptorTable), entries: QUEUE_SIZE },
      { offset: memory.offsetOf(table), entries: TABLE_ENTRIES },
    ],
    availableRing: memory.offsetOf(availableRing),
    queueSize: QUEUE_SIZE,
    control: new SharedArrayBuffer(8),
  };
  const control = new Int32Array(task.control);
  const worker = new Worker(new URL('./support/scribbler.js', import.meta.url), {
    workerData: task,
  });
  const ended = new Promise<number>((resolve, reject) => {
    worker.once('exit', resolve);
    worker.once('error', reject);
  });
  await until(() => Atomics.load(control, 1) > 0, 20_000);

  let rounds = 0;
  const start = performance.now();
  const raced = () => performance.now() - start > RACE && socket.sent > 100 && faults > 100;
  while (!raced() && performance.now() - start < 20 * RACE) {
    queue.availableIndex = device.vringBase(1) + QUEUE_SIZE;
    kick.signal();
    honest.driver.send(frames.make(64));
    rounds += 1;
    await turn(2);
  }
  Atomics.store(control, 0, 1);
  t.equal(await ended, 0, 'the other CPU ran until it was told to stop');
  await until(() => checker.intact === rounds);

  console.error(
    `concurrent mutation: ${rounds} rounds, ${Atomics.load(control, 1)} writes meanwhile, ` +
      `${socket.sent} frames sent, ${faults} faults`,
  );
  t.strictSame(socket.violations, [], 'no segment outside the regions');
  t.ok(memory.intact, 'no guard zone was written to');
  t.ok(socket.sent > 100 && faults > 100, 'some frames went out, some chains were broken');
  t.ok(checker.flawless, 'the other queue pair was served throughout');
  await device.close();
  honest.close();
  closeFd(memfd);
});
