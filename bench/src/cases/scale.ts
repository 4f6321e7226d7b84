import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { NetStatistics } from '@rxvhost/core';
import { DeviceWorkers } from '@rxvhost/vhost-user';
import type { Result } from '../result.js';
import { ManyNics } from '../scale/many-nics.js';
import { plainLoopsRate } from '../scale/plain-loops.js';
import { type Settings, WARM_UP } from '../settings.js';

const MILLION = 1e6;
const NICS = 64;
const QUEUE_SIZE = 256;

/**
 * Many NICs in one thread beside one, and two workers beside one, guests in the same threads; and two
 * threads of a plain loop beside one, which is what the machine can give to two workers at best.
 */
export async function scale(settings: Settings): Promise<Result[]> {
  const { seconds, rounds } = settings;
  const many: number[] = [];
  const one: number[] = [];
  const twoWorkers: number[] = [];
  const oneWorker: number[] = [];
  const machine: number[] = [];
  for (let round = 0; round < rounds; round += 1) {
    one.push(await nicsRate(1, QUEUE_SIZE, seconds));
    many.push(await nicsRate(NICS, QUEUE_SIZE, seconds));
    oneWorker.push(await workersRate(1, settings));
    twoWorkers.push(await workersRate(2, settings));
    machine.push((oneWorker[round] ?? 0) * (await gainOfTwoThreads(seconds)));
  }
  return [
    {
      name: `${NICS} NICs in one thread, rings of ${QUEUE_SIZE}`,
      unit: 'Mframes/s',
      better: 'more',
      own: many,
      peers: [{ name: 'one NIC, whose memory stays in the cache', figures: one }],
    },
    {
      name: 'two workers, a NIC each',
      unit: 'Mframes/s',
      better: 'more',
      own: twoWorkers,
      peers: [
        { name: 'one worker', figures: oneWorker },
        { name: 'one worker, by what the machine gives to two', figures: machine },
      ],
    },
  ];
}

/** How much more two threads do here than one, where nothing of ours is in the way. */
async function gainOfTwoThreads(seconds: number): Promise<number> {
  const one = await plainLoopsRate(1, seconds);
  return (await plainLoopsRate(2, seconds)) / one;
}

/** Millions of frames a second of processor time. */
async function nicsRate(count: number, queueSize: number, seconds: number): Promise<number> {
  const nics = new ManyNics(count, queueSize);
  const rate = await nics.rate(seconds);
  await nics.close();
  return rate / MILLION;
}

/** Millions of frames a second of the clock. */
async function workersRate(count: number, { folder, seconds }: Settings): Promise<number> {
  const module = new URL('../scale/nic-worker.js', import.meta.url);
  await using workers = new DeviceWorkers<number>({ workers: count, module });
  for (let index = 0; index < count; index += 1) {
    // Nobody connects there: the guests are in the workers.
    await workers.serve(QUEUE_SIZE, { socketPath: join(folder, `worker${index}.sock`) });
  }
  await sleep(WARM_UP * 1000);
  const start = performance.now();
  const before = await framesOf(workers);
  await sleep(seconds * 1000);
  const frames = (await framesOf(workers)) - before;
  return (frames / (performance.now() - start)) * (1000 / MILLION);
}

async function framesOf(workers: DeviceWorkers<number>): Promise<number> {
  const all: NetStatistics[] = await Promise.all(
    workers.servers.map(({ device }) => device.statistics()),
  );
  return all.reduce((sum, { queues }) => sum + (queues[1]?.frames ?? 0), 0);
}
