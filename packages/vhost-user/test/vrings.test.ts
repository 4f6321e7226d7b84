import { setTimeout as sleep } from 'node:timers/promises';
import type { EventFd } from '@rxvhost/sys';
import t from 'tap';
import {
  codes,
  event,
  FEATURES,
  makeBench,
  memoryRegion,
  negotiate,
  openFds,
  ringAddresses,
  share,
  until,
} from './support/bench.js';
import { permutations, steps } from './support/ring-steps.js';

const OLD_FEATURES = 1n << 32n;

t.test('a ring runs as soon as everything is there, in any order of requests', async (t) => {
  const { frontend, device } = await makeBench(t);
  await negotiate(frontend);
  const kick = event(t);
  const region = memoryRegion(t);
  const orders = permutations(['memory', 'size', 'address', 'kick', 'enable'] as const);
  const step = steps(frontend, kick, region);
  const failures: string[] = [];
  for (const order of orders) {
    const modes: string[] = [];
    await step.base();
    for (const name of order) {
      modes.push(device.queue(0).mode);
      await step[name]();
    }
    if (modes.some((mode) => mode !== 'stopped')) failures.push(`${order} too early: ${modes}`);
    if (device.describe(0) !== 'running size 256 base 5') failures.push(`${order} does not run`);
    await frontend.request('RESET_DEVICE', undefined);
    await frontend.request('REM_MEM_REG', { ...region, mmapOffset: 0 });
  }
  t.equal(orders.length, 120);
  t.strictSame(failures, []);
});

t.test(
  'T02 SET_FEATURES without bit 30 enables every ring, and a kick does not disable',
  async (t) => {
    const { frontend, device } = await makeBench(t);
    await share(t, frontend);
    await frontend.request('SET_OWNER', undefined);
    await frontend.request('SET_FEATURES', OLD_FEATURES);
    for (const index of [0, 1]) {
      await frontend.request('SET_VRING_NUM', { index, num: 64 });
      await frontend.request('SET_VRING_ADDR', { index, ...ringAddresses(index), logAddress: 0n });
      await frontend.request('SET_VRING_KICK', { index, hasFd: true }, [event(t).fd]);
    }
    await frontend.request('GET_FEATURES', undefined);
    t.equal(device.queue(0).mode, 'running');
    t.equal(device.queue(1).mode, 'running');
    await frontend.request('SET_VRING_KICK', { index: 0, hasFd: true }, [event(t).fd]);
    await frontend.request('SET_VRING_ENABLE', { index: 1, num: 0 });
    await frontend.request('GET_FEATURES', undefined);
    t.equal(device.queue(0).mode, 'running', 'a second kick');
    t.equal(device.queue(1).mode, 'discarding', 'SET_VRING_ENABLE is heeded all the same');
  },
);

t.test('T02 with bit 30 rings begin disabled', async (t) => {
  const { frontend, device } = await makeBench(t);
  await negotiate(frontend);
  const step = steps(frontend, event(t), memoryRegion(t));
  for (const name of ['memory', 'size', 'address', 'kick', 'call'] as const) await step[name]();
  t.equal(device.queue(0).mode, 'stopped');
});

t.test('T03 a kick before enable waits and is served at once when enabled', async (t) => {
  const { frontend, device } = await makeBench(t);
  await negotiate(frontend);
  const kick = event(t);
  const step = steps(frontend, kick, memoryRegion(t));
  for (const name of ['memory', 'size', 'address', 'kick'] as const) await step[name]();
  kick.signal();
  await sleep(10);
  t.equal(device.queue(0).mode, 'stopped', 'nothing is discarded');
  await step.enable();
  t.equal(device.queue(0).looks, 1, 'the ring was looked at, kick or no kick');
  kick.signal();
  await until(t, 'later kicks are heard', () => device.queue(0).looks === 2);
});

t.test('a ring disabled after it ran discards; with a new kick it waits', async (t) => {
  const { frontend, device } = await makeBench(t);
  await negotiate(frontend);
  const step = steps(frontend, event(t), memoryRegion(t));
  for (const name of ['memory', 'size', 'address', 'kick', 'enable'] as const) await step[name]();
  const enable = (num: number) => frontend.request('SET_VRING_ENABLE', { index: 0, num });
  await enable(0);
  t.equal(device.queue(0).mode, 'discarding');
  await enable(1);
  t.equal(device.queue(0).mode, 'running');
  await enable(0);
  await step.kick();
  t.equal(device.queue(0).mode, 'stopped');
  await enable(1);
  t.equal(device.queue(0).mode, 'running');
  await t.rejects(enable(2), { code: 'EINVAL' });
  t.equal(device.queue(0).mode, 'running');
});

t.test('T05 GET_VRING_BASE stops the ring, tells its index, and keeps the rest', async (t) => {
  const { frontend, device } = await makeBench(t);
  await negotiate(frontend);
  const kick = event(t);
  const step = steps(frontend, kick, memoryRegion(t));
  const getBase = async (index: number) =>
    (await frontend.request('GET_VRING_BASE', { index, num: 0 })).num;
  t.equal(await getBase(1), 0, 'a ring that never was');
  for (const name of ['memory', 'size', 'base', 'address', 'kick', 'enable'] as const) {
    await step[name]();
  }
  device.queue(0).base = 77; // as if it had taken some
  const before = openFds();
  t.equal(await getBase(0), 77);
  t.equal(device.describe(0), 'stopped size 256 base 77');
  t.equal(device.features, OLD_FEATURES);
  t.equal(openFds(), before - 1, 'the kick is dead');
  t.equal(await getBase(0), 77, 'twice is harmless');
  await frontend.request('SET_VRING_ENABLE', { index: 0, num: 1 });
  t.equal(device.queue(0).mode, 'stopped', 'it needs a new kick');
  await step.kick();
  t.equal(device.describe(0), 'running size 256 base 77', 'and nothing else');
});

t.test('T09 call: absent, replaced while the ring runs, each closed once', async (t) => {
  const { frontend, device } = await makeBench(t);
  await negotiate(frontend);
  const step = steps(frontend, event(t), memoryRegion(t));
  for (const name of ['memory', 'size', 'address', 'kick', 'enable'] as const) await step[name]();
  const [first, second] = [event(t), event(t)];
  const before = openFds();
  const setCall = (port: EventFd) =>
    frontend.request('SET_VRING_CALL', { index: 0, hasFd: true }, [port.fd]);
  await setCall(first);
  device.queue(0).call?.signal();
  t.equal(first.read(), 1);
  await setCall(second);
  device.queue(0).call?.signal();
  t.equal(second.read(), 1);
  t.equal(first.read(), 0);
  t.equal(openFds(), before + 1, 'one at a time');
  await step.call();
  t.equal(device.queue(0).call, undefined);
  t.equal(openFds(), before);
  t.equal(device.queue(0).mode, 'running');
});

t.test('SET_VRING_KICK without an eventfd: the ring is looked at again and again', async (t) => {
  const { frontend, device } = await makeBench(t);
  await negotiate(frontend);
  const step = steps(frontend, event(t), memoryRegion(t));
  for (const name of ['memory', 'size', 'address', 'enable'] as const) await step[name]();
  await frontend.request('SET_VRING_KICK', { index: 0, hasFd: false });
  t.equal(device.queue(0).mode, 'running', 'at once');
  await until(t, 'polled', () => device.queue(0).looks > 10);
  await frontend.request('GET_VRING_BASE', { index: 0, num: 0 });
  const { looks } = device.queue(0);
  await sleep(20);
  t.equal(device.queue(0).looks, looks, 'no longer once stopped');
});

t.test('T40 bad ring sizes are refused, repeated good ones leave nothing behind', async (t) => {
  const { frontend, device } = await makeBench(t);
  await negotiate(frontend);
  const setSize = (num: number) => frontend.request('SET_VRING_NUM', { index: 0, num });
  for (const num of [0, 3, 255, 2048, 32769, 65536, 0xffff_ffff]) {
    await t.rejects(setSize(num), { code: 'EINVAL' }, `${num}`);
  }
  const before = openFds();
  for (let round = 0; round < 100; round += 1) await setSize(1 << (round % 11));
  t.equal(openFds(), before);
  t.equal(device.queue(0).size, 1 << (99 % 11));
});

t.test('size and base cannot change under a running ring; addresses can', async (t) => {
  const { frontend, device } = await makeBench(t);
  await negotiate(frontend);
  const step = steps(frontend, event(t), memoryRegion(t));
  for (const name of ['memory', 'size', 'address', 'kick', 'enable'] as const) await step[name]();
  await t.rejects(step.size(), { code: 'EBUSY' });
  await t.rejects(step.base(), { code: 'EBUSY' });
  const logged = { ...ringAddresses(0), flags: 1, logAddress: 0x1000n };
  await frontend.request('SET_VRING_ADDR', { index: 0, ...logged });
  t.strictSame(device.queue(0).addresses, { ...ringAddresses(0), flags: 1, logAddress: 0x1000 });
  const strange = { ...ringAddresses(0), flags: 0, logAddress: 2n ** 64n - 1n };
  await frontend.request('SET_VRING_ADDR', { index: 0, ...strange });
  t.equal(device.queue(0).addresses?.logAddress, 0, 'a log address that is not meant is not read');
  const tooFar = frontend.request('SET_VRING_ADDR', { index: 0, ...strange, flags: 1 });
  await t.rejects(tooFar, { code: 'EOVERFLOW' });
});

t.test('a ring outside memory waits, and runs when the memory comes', async (t) => {
  const { frontend, device, errors } = await makeBench(t);
  await negotiate(frontend);
  const [first, second] = [memoryRegion(t, 0), memoryRegion(t, 1)];
  const step = steps(frontend, event(t), second);
  await frontend.shareMemory([second]);
  await step.size();
  await step.address();
  await step.kick();
  await t.rejects(step.enable(), { code: 'EFAULT' }, 'the front-end is told');
  t.equal(device.queue(0).mode, 'stopped');
  await frontend.shareMemory([first]);
  t.equal(device.queue(0).mode, 'running');
  await frontend.request('REM_MEM_REG', { ...first, mmapOffset: 0 });
  t.equal(device.queue(0).mode, 'stopped', 'T23 its memory went');
  await frontend.shareMemory([first]);
  t.equal(device.queue(0).mode, 'running');
  t.strictSame(codes(errors), ['SET_VRING_ENABLE EFAULT']);
});

t.test('T05 status 0 stops every ring; its index can still be asked, as QEMU does', async (t) => {
  const { frontend, device } = await makeBench(t);
  await negotiate(frontend);
  const step = steps(frontend, event(t), memoryRegion(t));
  for (const name of ['memory', 'size', 'address', 'kick', 'enable'] as const) await step[name]();
  device.queue(0).base = 77; // as if it had taken some
  await frontend.request('SET_STATUS', 0);
  t.equal(device.describe(0), 'stopped size 256 base 77');
  t.equal(device.queue(0).kick, undefined, 'the kick is dead');
  t.equal((await frontend.request('GET_VRING_BASE', { index: 0, num: 0 })).num, 77);
  await step.kick();
  t.equal(device.describe(0), 'running size 256 base 77');
});

t.test('RESET_OWNER holds every ring until it is enabled again', async (t) => {
  const { frontend, device } = await makeBench(t);
  await negotiate(frontend);
  const step = steps(frontend, event(t), memoryRegion(t));
  for (const name of ['memory', 'size', 'address', 'kick', 'enable'] as const) await step[name]();
  await frontend.request('RESET_OWNER', undefined);
  t.equal(device.queue(0).mode, 'stopped');
  t.equal(device.regions.length, 1);
  await step.enable();
  t.equal(device.queue(0).mode, 'running');
});

t.test('startQueue and stopQueue do the usual sequence', async (t) => {
  const { frontend, device, trace } = await makeBench(t);
  const agreement = await frontend.handshake({ features: FEATURES | (1n << 5n) });
  t.equal(agreement.features, OLD_FEATURES, 'what is not offered is left out');
  t.equal(agreement.queues, 1);
  await share(t, frontend);
  trace.length = 0;
  const kick = event(t);
  await frontend.startQueue(1, {
    size: 128,
    base: 9,
    addresses: ringAddresses(1),
    kick,
    call: event(t),
    error: event(t),
  });
  t.equal(device.describe(1), 'running size 128 base 9');
  t.strictSame(
    trace.filter(({ direction }) => direction === 'received').map(({ request }) => request),
    [
      'SET_VRING_NUM',
      'SET_VRING_BASE',
      'SET_VRING_ADDR',
      'SET_VRING_ERR',
      'SET_VRING_KICK',
      'SET_VRING_CALL',
      'SET_VRING_ENABLE',
    ],
  );
  t.equal(await frontend.stopQueue(1), 9);
  t.equal(device.queue(1).mode, 'stopped');
});
