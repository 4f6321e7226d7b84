import { execFileSync } from 'node:child_process';
import { closeSync, constants, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { MAX_STATE_BYTES } from '@rxvhost/core';
import { closeFd, duplicateFd, socketPair } from '@rxvhost/sys';
import t, { type Test } from 'tap';
import {
  DEVICE_STATE_DIRECTION,
  DeviceStateTransfer,
  protocolFeatures,
  ReceivedFds,
  type VhostUserFrontend,
} from '../src/index.js';
import {
  codes,
  event,
  FEATURES,
  makeBench,
  memoryRegion,
  negotiate,
  openFds,
  ringAddresses,
} from './support/bench.js';
import { RecordingDevice } from './support/recording-device.js';

/** DEVICE_STATE as a protocol: pipes, and what their other ends may do. */

t.setTimeout(60_000);

const { SAVE, LOAD } = DEVICE_STATE_DIRECTION;
const PROTOCOL = protocolFeatures('REPLY_ACK', 'DEVICE_STATE', 'CONFIG');

function pattern(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, at) => (at * 7) & 0x7f);
}

/** A real pipe: its reading and its writing end, which block as a VMM's may. */
function pipe(t: Test): [number, number] {
  const path = join(tmpdir(), `rxvhost-state-${process.pid}-${performance.now()}`);
  execFileSync('mkfifo', [path]);
  const reading = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const writing = openSync(path, constants.O_WRONLY);
  rmSync(path);
  const open = new Set([reading, writing]);
  t.teardown(() => {
    for (const fd of open) {
      try {
        closeSync(fd);
      } catch {
        // The test has closed it.
      }
    }
  });
  return [reading, writing];
}

function begin(frontend: VhostUserFrontend, direction: number, fd: number, phase = 0) {
  return frontend.request('SET_DEVICE_STATE_FD', { direction, phase }, [fd]);
}

const check = (frontend: VhostUserFrontend) => frontend.request('CHECK_DEVICE_STATE', undefined);

t.test('a state of any size goes out of one device and into another', async (t) => {
  for (const size of [0, 1, 65_536, MAX_STATE_BYTES]) {
    const source = await makeBench(t);
    const destination = await makeBench(t);
    await negotiate(source.frontend, FEATURES, PROTOCOL);
    await negotiate(destination.frontend, FEATURES, PROTOCOL);
    const before = openFds();
    source.device.state = pattern(size);
    const state = await source.frontend.saveState();
    t.strictSame(state, pattern(size), `${size} bytes saved`);
    await destination.frontend.loadState(state);
    t.strictSame(destination.device.state, pattern(size), `${size} bytes loaded`);
    t.strictSame(await source.frontend.saveState(), state, 'once more: saving changes nothing');
    t.equal(openFds(), before);
  }
});

t.test('pipes will do as well as sockets', async (t) => {
  const { frontend, device } = await makeBench(t);
  await negotiate(frontend, FEATURES, PROTOCOL);
  device.state = pattern(1000);
  const [savedTo, savedFrom] = pipe(t);
  t.strictSame(await begin(frontend, SAVE, savedFrom), { fd: undefined }, 'it is used as it is');
  closeSync(savedFrom);
  await check(frontend);
  const target = new Uint8Array(2000);
  t.equal(readSync(savedTo, target), 1000);
  t.equal(readSync(savedTo, target.subarray(1000)), 0, 'the writing end is closed');
  t.strictSame(target.slice(0, 1000), pattern(1000));

  const [loadedFrom, loadedTo] = pipe(t);
  await begin(frontend, LOAD, loadedFrom);
  writeSync(loadedTo, pattern(10));
  await frontend.request('GET_FEATURES', undefined);
  writeSync(loadedTo, pattern(10));
  closeSync(loadedTo);
  await check(frontend);
  t.strictSame(device.state, new Uint8Array([...pattern(10), ...pattern(10)]));
});

t.test('a broken state is told when it is asked for, and the old one stands', async (t) => {
  const { frontend, device, errors } = await makeBench(t);
  await negotiate(frontend, FEATURES, PROTOCOL);
  device.state = pattern(5);
  await t.rejects(frontend.loadState(Uint8Array.of(0xff)), { code: 'EINVAL' });
  await t.rejects(frontend.loadState(new Uint8Array(MAX_STATE_BYTES + 1)), { code: 'EFBIG' });
  t.strictSame(device.state, pattern(5));
  t.same(codes(errors), ['CHECK_DEVICE_STATE EINVAL', 'CHECK_DEVICE_STATE EFBIG']);
  await frontend.loadState(pattern(6));
  t.strictSame(device.state, pattern(6), 'the next one is taken');
});

t.test('what cannot begin is refused at once', async (t) => {
  const { frontend, device, errors } = await makeBench(t);
  await negotiate(frontend, FEATURES, PROTOCOL);
  const before = openFds();
  await t.rejects(check(frontend), { code: 'EINVAL' }, 'nothing was transferred');
  const [ours, theirs] = socketPair();
  await t.rejects(begin(frontend, 2, theirs), { code: 'EINVAL' }, 'no such direction');
  await t.rejects(begin(frontend, SAVE, theirs, 1), { code: 'EINVAL' }, 'no such phase');
  const file = memoryRegion(t);
  await t.rejects(begin(frontend, SAVE, file.fd), { code: 'EINVAL' }, 'no pipe');
  await begin(frontend, LOAD, theirs);
  await t.rejects(begin(frontend, LOAD, theirs), { code: 'EBUSY' }, 'one at a time');
  closeFd(theirs);
  closeFd(ours);
  await check(frontend);
  await t.rejects(check(frontend), { code: 'EINVAL' }, 'it is told once');
  t.equal(device.state.length, 0);

  await frontend.shareMemory([file]);
  const setup = { size: 256, addresses: ringAddresses(0), kick: event(t), call: event(t) };
  await frontend.startQueue(0, setup);
  await t.rejects(frontend.saveState(), { code: 'EBUSY' }, 'a ring runs');
  await frontend.stopQueue(0);
  await frontend.saveState();
  t.equal(openFds(), before + 4, 'the memory file and the eventfds, of which one went over');
  t.equal(codes(errors).length, 7);
});

t.test('a pipe whose other end does nothing holds up nobody, and not for ever', async (t) => {
  const before = openFds();
  for (const direction of [SAVE, LOAD]) {
    const device = new RecordingDevice();
    device.state = pattern(4_000_000);
    const transfer = new DeviceStateTransfer(device, 30);
    const [ours, theirs] = socketPair();
    transfer.begin({ direction, phase: 0 }, new ReceivedFds([theirs]));
    await sleep(50);
    t.equal(openFds(), before + 2, 'it waits');
    await t.rejects(transfer.check(), { code: 'ETIMEDOUT' });
    closeFd(ours);
    t.equal(openFds(), before);
  }
});

t.test('a reader that goes away, and a front-end that does, end the transfer', async (t) => {
  const { frontend, device, server } = await makeBench(t);
  await negotiate(frontend, FEATURES, PROTOCOL);
  device.state = pattern(4_000_000);
  const [ours, theirs] = socketPair();
  await begin(frontend, SAVE, theirs);
  closeFd(theirs);
  closeFd(ours);
  await t.rejects(check(frontend), { code: 'EPIPE' });

  const [reading, writing] = socketPair();
  const kept = duplicateFd(reading);
  await begin(frontend, LOAD, writing);
  closeFd(writing);
  const before = openFds();
  frontend.close();
  await server.closed;
  t.equal(openFds(), before - 3, 'the connection’s two and the pipe’s end');
  closeFd(reading);
  closeFd(kept);
});

t.test('a device without state offers none', async (t) => {
  const { frontend, device } = await makeBench(t);
  Object.assign(device, { saveState: undefined });
  const offered = await frontend.request('GET_PROTOCOL_FEATURES', undefined);
  t.equal(offered & protocolFeatures('DEVICE_STATE'), 0n);
});
