import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { closeFd, connectUnix, duplicateFd, sendWithFds, socketPair } from '@rxvhost/sys';
import { Subject } from 'rxjs';
import t, { type Test } from 'tap';
import {
  BackendSession,
  DeviceRequests,
  HEADER,
  MEMORY_TABLE,
  MessageChannel,
  type ProtocolFault,
  type ServeOptions,
  serve,
  type TraceEvent,
  U64,
  VERSION,
  VhostUserFrontend,
} from '../src/index.js';
import {
  event,
  FEATURES,
  makeBench,
  memfdMappings,
  memoryRegion,
  negotiate,
  openFds,
  share,
  until,
} from './support/bench.js';
import { RecordingDevice } from './support/recording-device.js';

function socketPath(t: Test): string {
  const directory = mkdtempSync(join(tmpdir(), 'vhost-user-'));
  t.teardown(() => rmSync(directory, { recursive: true }));
  return join(directory, 'socket');
}

async function listen(t: Test, options: Partial<ServeOptions> = {}) {
  const device = new RecordingDevice();
  const path = socketPath(t);
  const server = await serve(device, { socketPath: path, ...options });
  t.teardown(() => server.close());
  const states: string[] = [];
  server.state$.subscribe((state) => states.push(state));
  return { device, path, server, states };
}

function connect(t: Test, path: string): VhostUserFrontend {
  const frontend = VhostUserFrontend.connect(path);
  t.teardown(() => frontend.close());
  return frontend;
}

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

t.test('messages may come in any pieces', async (t) => {
  const { frontend, device } = await makeBench(t);
  const region = memoryRegion(t);
  const table = MEMORY_TABLE.encode([{ ...region, mmapOffset: 0 }]);
  const head = HEADER.encode({ request: 5, flags: VERSION, size: table.length });
  const ask = HEADER.encode({ request: 1, flags: VERSION, size: 0 });
  const bytes = Buffer.concat([head, table, ask]);
  const answer = frontend.exchange({ request: 1, expectReply: true });
  await answer;
  for (const [index, byte] of bytes.entries()) {
    await frontend.sendBytes(Uint8Array.of(byte), index === 0 ? [region.fd] : []);
    if (index % 8 === 0) await sleep(1);
  }
  await until(t, 'the table has arrived', () => device.regions.length === 1);
});

t.test('many messages in one piece are all answered, in order', async (t) => {
  const { frontend } = await makeBench(t);
  await negotiate(frontend);
  const answers = await Promise.all(
    Array.from({ length: 500 }, (_, index) =>
      index % 2 === 0
        ? frontend.request('SET_STATUS', (index % 255) + 1)
        : frontend.request('GET_STATUS', undefined),
    ),
  );
  const expected = answers.map((_, index) =>
    index % 2 === 0 ? undefined : ((index - 1) % 255) + 1,
  );
  t.strictSame(answers, expected);
});

t.test('a request that takes time holds up the next, and only that', async (t) => {
  const steps: string[] = [];
  let finish: () => void = () => undefined;
  class SlowReset extends DeviceRequests {
    override async resetDevice(): Promise<void> {
      steps.push('reset begins');
      await new Promise<void>((resolve) => {
        finish = resolve;
      });
      super.resetDevice();
      steps.push('reset ends');
    }
    override setVringSize(index: number, size: number): void {
      super.setVringSize(index, size);
      steps.push(`size ${size}`);
    }
  }
  const [ours, theirs] = socketPair();
  const device = new RecordingDevice();
  device.setOwner();
  const reports = { errors$: new Subject<ProtocolFault>(), trace$: new Subject<TraceEvent>() };
  const session = new BackendSession(1, ours, new SlowReset(device), reports);
  session.start();
  const frontend = new VhostUserFrontend(theirs);
  t.teardown(() => {
    frontend.close();
    session.end();
  });
  await negotiate(frontend);
  const both = Promise.all([
    frontend.request('RESET_DEVICE', undefined),
    frontend.request('SET_VRING_NUM', { index: 0, num: 64 }),
  ]);
  await sleep(20);
  t.strictSame(steps, ['reset begins']);
  finish();
  await both;
  t.strictSame(steps, ['reset begins', 'reset ends', 'size 64']);
});

t.test('fds belong to the message they came with, however many lie in the socket', async (t) => {
  const { frontend, device } = await makeBench(t);
  await negotiate(frontend);
  const [one, two, three] = [event(t), event(t), event(t)];
  const call = { index: 0, hasFd: true };
  await Promise.all([
    frontend.request('SET_VRING_CALL', call, [one.fd]),
    frontend.request('SET_VRING_ERR', call, [two.fd]),
    frontend.request('GET_FEATURES', undefined),
    frontend.request('SET_VRING_CALL', { ...call, index: 1 }, [three.fd]),
  ]);
  device.queue(0).call?.signal();
  device.queue(0).error?.signal();
  device.queue(1).call?.signal();
  t.strictSame([one.read(), two.read(), three.read()], [1, 1, 1]);
});

t.test(
  'a front-end that does not read its answers stops being served, and nothing else',
  async (t) => {
    const [ours, theirs] = socketPair();
    const device = new RecordingDevice();
    const server = await serve(device, { fd: ours });
    t.teardown(() => server.close());
    const received: string[] = [];
    server.trace$.subscribe(({ direction }) => received.push(direction));
    const ask = HEADER.encode({ request: 1, flags: VERSION, size: 0 });
    let sent = 0;
    for (let idle = 0; idle < 20; ) {
      const bytes = sendWithFds(theirs, ask, []);
      if (bytes === undefined) {
        idle += 1;
        await sleep(2);
      } else {
        sent += 1;
        idle = 0;
      }
      if (sent > 200_000) break;
    }
    const stuckAt = received.length;
    await sleep(50);
    t.equal(received.length, stuckAt, 'no request is taken while an answer cannot leave');
    t.ok(sent < 200_000, `the front-end is held up after ${sent} requests`);
    const channel = new MessageChannel(theirs);
    t.teardown(() => channel.close());
    let answers = 0;
    channel.messages$.subscribe(() => {
      answers += 1;
    });
    await until(t, 'every request is answered once it reads', () => answers === sent);
  },
);

t.test('a front-end that dies in the middle of a message leaves nothing', async (t) => {
  const { device, path } = await listen(t);
  const { fd } = memoryRegion(t);
  const before = [openFds(), memfdMappings()];
  for (const cut of [1, 11, 12, 20]) {
    const socket = connectUnix(path);
    const table = MEMORY_TABLE.encode([]);
    const bytes = Buffer.concat([
      HEADER.encode({ request: 5, flags: VERSION, size: 40 }),
      table,
      new Uint8Array(32),
    ]);
    sendWithFds(socket, bytes.subarray(0, cut), [fd, fd, fd]);
    await sleep(5);
    closeFd(socket);
    const { resets } = device;
    await until(t, `cut after ${cut} bytes`, () => device.resets > resets || device.resets >= 4);
  }
  await until(t, 'all reset', () => device.resets === 4);
  t.strictSame([openFds(), memfdMappings()], before);
});

t.test('a front-end that is killed with answers unread ends quietly', async (t) => {
  const { device, path, server } = await listen(t);
  const errors: unknown[] = [];
  server.errors$.subscribe((error) => errors.push(error));
  const socket = connectUnix(path);
  sendWithFds(socket, HEADER.encode({ request: 1, flags: VERSION, size: 0 }), []);
  await sleep(20);
  sendWithFds(socket, HEADER.encode({ request: 1, flags: VERSION, size: 0 }), []);
  closeFd(socket);
  await until(t, 'reset', () => device.resets === 1);
  t.strictSame(errors, []);
});

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

t.test('the client: a wrong answer, a vanished back-end, an end of its own', async (t) => {
  const [ours, theirs] = socketPair();
  const frontend = new VhostUserFrontend(ours);
  const backend = new MessageChannel(theirs);
  t.teardown(() => backend.close());
  const answer = frontend.request('GET_FEATURES', undefined);
  await backend.send({ request: 2, flags: VERSION | 4 }, U64.encode(FEATURES));
  await t.rejects(answer, { code: 'EPROTO' });
  t.ok(frontend.closed);
  await t.rejects(frontend.request('GET_FEATURES', undefined), { code: 'EPIPE' });

  const [left, right] = socketPair();
  const lonely = new VhostUserFrontend(left);
  const hopeless = lonely.request('GET_FEATURES', undefined);
  closeFd(right);
  await t.rejects(hopeless, { code: 'ECONNRESET' });

  const { frontend: third } = await makeBench(t);
  const abandoned = third.request('GET_FEATURES', undefined);
  third.close();
  third.close();
  await t.rejects(abandoned, { code: 'ECONNABORTED' });
});
