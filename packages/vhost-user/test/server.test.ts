import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { closeFd, duplicateFd, socketPair, UnixListener } from '@rxvhost/sys';
import { firstValueFrom } from 'rxjs';
import t from 'tap';
import { serve, VhostUserFrontend, VhostUserServer } from '../src/index.js';
import {
  event,
  memfdMappings,
  memoryRegion,
  negotiate,
  openFds,
  share,
  until,
} from './support/bench.js';
import { connect, listen, socketPath } from './support/listening.js';
import { RecordingDevice } from './support/recording-device.js';

t.test('front-ends are served one after the other, each on a fresh device', async (t) => {
  const { device, path, server, states } = await listen(t);
  const ids: number[] = [];
  server.connections$.subscribe(({ id }) => ids.push(id));
  const first = connect(t, path);
  await negotiate(first);
  await share(t, first);
  const second = connect(t, path);
  const waiting = second.request('GET_FEATURES', undefined);
  await sleep(30);
  t.strictSame(ids, [1], 'the second one waits in the backlog');
  first.close();
  await waiting;
  t.strictSame(ids, [1, 2]);
  t.equal(device.resets, 1);
  t.equal(device.regions.length, 0);
  await negotiate(second);
  second.close();
  await until(t, 'listening again', () => device.resets === 2 && states.at(-1) === 'listening');
  t.strictSame(states, ['listening', 'connected', 'listening', 'connected', 'listening']);
});

t.test('once: the server closes after its first front-end', async (t) => {
  const { device, path, server, states } = await listen(t, { once: true });
  const frontend = connect(t, path);
  await negotiate(frontend);
  frontend.close();
  await server.closed;
  t.equal(device.owned, false);
  t.notOk(existsSync(path), 'the socket file is gone');
  t.strictSame(states, ['listening', 'connected', 'closed']);
  await server.closed;
  await server.close();
});

t.test('close ends the connection, resets the device and leaves nothing behind', async (t) => {
  const before = [openFds(), memfdMappings()];
  const { device, path, server } = await listen(t);
  const frontend = connect(t, path);
  await negotiate(frontend);
  const region = memoryRegion(t);
  await frontend.shareMemory([region]);
  await frontend.request('SET_VRING_KICK', { index: 0, hasFd: true }, [event(t).fd]);
  const [one, two] = [server.close(), server.close()];
  t.equal(one, two);
  await one;
  t.equal(device.resets, 1);
  t.notOk(existsSync(path));
  await until(t, 'the front-end sees the end', () => frontend.closed);
  t.equal(openFds(), (before[0] ?? 0) + 2, 'the test’s own memfd and eventfd');
  t.equal(memfdMappings(), before[1]);
});

t.test('close before anybody came, and of an inherited socket never read', async (t) => {
  const { server } = await listen(t);
  await server.close();
  const [ours, theirs] = socketPair();
  const inherited = await serve(new RecordingDevice(), { fd: ours });
  await inherited.close();
  const frontend = new VhostUserFrontend(theirs);
  await until(t, 'closed', () => frontend.closed);
});

t.test('T17 a path in use, a stale socket, a file in the way, a path too long', async (t) => {
  const { path } = await listen(t);
  const device = new RecordingDevice();
  await t.rejects(serve(device, { socketPath: path }), { code: 'EADDRINUSE' });
  const tooLong = join(tmpdir(), 'x'.repeat(120));
  await t.rejects(serve(device, { socketPath: tooLong }), { code: 'ENAMETOOLONG' });
  const missing = join(tmpdir(), 'no-such-directory', 'socket');
  await t.rejects(serve(device, { socketPath: missing }), { code: 'ENOENT' });

  const file = socketPath(t);
  writeFileSync(file, 'precious');
  await t.rejects(serve(device, { socketPath: file }), { code: 'EEXIST' });
  t.ok(existsSync(file));

  const stale = socketPath(t);
  const script = `require('net').createServer().listen(${JSON.stringify(stale)}, () => process.kill(process.pid, 'SIGKILL'))`;
  await once(spawn(process.execPath, ['-e', script]), 'exit');
  t.ok(existsSync(stale), 'left by a server that was killed');
  const server = await serve(device, { socketPath: stale });
  t.teardown(() => server.close());
  await negotiate(connect(t, stale));
});

t.test('T17 an inherited socket must be one', async (t) => {
  const { fd } = memoryRegion(t);
  await t.rejects(serve(new RecordingDevice(), { fd }), { code: 'ENOTSOCK' });
  await t.rejects(serve(new RecordingDevice(), { fd: 987654 }), { code: 'EBADF' });
});

t.test('T13 the listener survives running out of file descriptors', async (t) => {
  const { path, server } = await listen(t);
  const errors: string[] = [];
  server.errors$.subscribe(({ connection, error }) => errors.push(`${connection} ${error.code}`));
  const { fd } = memoryRegion(t);
  const restore = await limitFds(openFds() + 16);
  const frontend = connect(t, path); // in the backlog until the next turn
  const answer = frontend.request('GET_FEATURES', undefined);
  const hoard: number[] = [];
  try {
    for (;;) hoard.push(duplicateFd(fd));
  } catch (error) {
    t.match(error, { code: 'EMFILE' });
  }
  await until(t, 'it is told', () => errors.length > 0);
  for (const copy of hoard) closeFd(copy);
  t.ok(await answer, 'served as soon as there is room');
  t.equal(errors[0], '0 EMFILE');
  await restore();
});

/** Limits this process's file descriptors, by a helper that needs none of ours to undo it. */
async function limitFds(count: number): Promise<() => Promise<void>> {
  const set = `prlimit --pid=${process.pid} --nofile=`;
  const script = `old=$(ulimit -Sn); ${set}${count}: && echo && read x; ${set}$old:`;
  const helper = spawn('sh', ['-c', script], { stdio: ['pipe', 'pipe', 'inherit'] });
  await once(helper.stdout, 'data');
  return async () => {
    helper.stdin.end('\n');
    await once(helper, 'exit');
  };
}

t.test('a device that takes time to reset is not given to the next front-end early', async (t) => {
  const { device, path } = await listen(t);
  let open: () => void = () => undefined;
  device.resetGate = new Promise((resolve) => {
    open = resolve;
  });
  const first = connect(t, path);
  await negotiate(first);
  first.close();
  await until(t, 'resetting', () => device.resets === 1);
  const second = connect(t, path);
  let answered = false;
  const answer = second.request('GET_FEATURES', undefined).then(() => {
    answered = true;
  });
  await sleep(30);
  t.notOk(answered);
  open();
  await answer;
  t.ok(device.owned);
});

t.test('a device that somebody else owns is left alone', async (t) => {
  const { device, path, server } = await listen(t);
  const errors: string[] = [];
  server.errors$.subscribe(({ error }) => errors.push(error.code));
  device.setOwner();
  const frontend = connect(t, path);
  await t.rejects(frontend.request('GET_FEATURES', undefined), { code: 'ECONNRESET' });
  t.strictSame(errors, ['EBUSY']);
  t.ok(device.owned);
  t.equal(device.resets, 0);
  await device.reset();
  await negotiate(connect(t, path));
});

t.test('T10 connectPath: front-ends that listen are met whenever they are there', async (t) => {
  const device = new RecordingDevice();
  const path = socketPath(t);
  const server = new VhostUserServer(device, { connectPath: path });
  t.teardown(() => server.close());
  const errors: string[] = [];
  server.errors$.subscribe(({ error }) => errors.push(error.code));
  await sleep(50);
  for (const visit of [1, 2]) {
    const listener = new UnixListener(path);
    const fd = await firstValueFrom(listener.connections$);
    const frontend = new VhostUserFrontend(fd);
    await negotiate(frontend);
    t.equal(device.owned, true);
    listener.close();
    frontend.close();
    await until(t, 'the device is free again', () => device.resets === visit);
  }
  t.same(errors, [], 'that nobody is there is no error');
  await server.close();
});
