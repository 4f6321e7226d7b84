import { setTimeout as sleep } from 'node:timers/promises';
import { closeFd, connectUnix, sendWithFds, socketPair } from '@rxvhost/sys';
import { lastValueFrom, Subject, toArray } from 'rxjs';
import t from 'tap';
import {
  BackendSession,
  DeviceRequests,
  FLAG_NEED_REPLY,
  FLAG_REPLY,
  HEADER,
  MAX_PAYLOAD,
  MEMORY_TABLE,
  MessageChannel,
  type ProtocolFault,
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
  until,
} from './support/bench.js';
import { listen } from './support/listening.js';
import { RecordingDevice } from './support/recording-device.js';

const NEED_REPLY = VERSION | FLAG_NEED_REPLY;

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
      await super.resetDevice();
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
t.test('what cannot be followed ends the connection', async (t) => {
  const header = (fields: Partial<ReturnType<typeof HEADER.decode>>) =>
    HEADER.encode({ request: 1, flags: VERSION, size: 0, ...fields });
  const cases: [string, Uint8Array, string][] = [
    ['version 0', header({ flags: 0 }), 'EPROTO'],
    ['version 2', header({ flags: 2 | FLAG_NEED_REPLY }), 'EPROTO'],
    ['a reply', header({ flags: VERSION | FLAG_REPLY }), 'EPROTO'],
    ['too large', header({ size: MAX_PAYLOAD + 1 }), 'EMSGSIZE'],
    ['far too large', header({ size: 0xffff_ffff }), 'EMSGSIZE'],
    [
      'a short payload',
      Buffer.concat([header({ request: 8, size: 4 }), new Uint8Array(4)]),
      'EMSGSIZE',
    ],
  ];
  for (const [name, bytes, code] of cases) {
    const { frontend, errors, server } = await makeBench(t);
    await frontend.sendBytes(bytes);
    await server.closed;
    t.match(errors, [{ error: { code } }], name);
    t.equal(errors.length, 1);
    await until(t, `${name}: closed`, () => frontend.closed);
  }
});

t.test('an oversized request with NEED_REPLY is refused before the end', async (t) => {
  const [ours, theirs] = socketPair();
  const server = await serve(new RecordingDevice(), { fd: ours });
  const channel = new MessageChannel(theirs);
  t.teardown(() => channel.close());
  await channel.sendBytes(HEADER.encode({ request: 1, flags: NEED_REPLY, size: MAX_PAYLOAD + 1 }));
  const answers = await lastValueFrom(channel.messages$.pipe(toArray()));
  t.equal(answers.length, 1);
  t.strictSame(answers[0]?.header, { request: 1, flags: VERSION | FLAG_REPLY, size: 8 });
  t.strictSame(answers[0]?.payload, U64.encode(90n));
  await server.closed;
});

t.test('traces name and decode every message', async (t) => {
  const { frontend, trace } = await makeBench(t);
  await frontend.request('SET_VRING_NUM', { index: 0, num: 256 });
  await frontend.exchange({ request: 77, payload: Uint8Array.of(1), expectReply: false });
  await frontend.request('GET_VRING_BASE', { index: 1, num: 0 });
  const common = { connection: 1, needReply: false, fds: 0 };
  t.strictSame(trace, [
    {
      ...common,
      direction: 'received',
      request: 'SET_VRING_NUM',
      payload: { index: 0, num: 256 },
    },
    { ...common, direction: 'received', request: 'request 77', payload: Uint8Array.of(1) },
    { ...common, direction: 'received', request: 'GET_VRING_BASE', payload: { index: 1, num: 0 } },
    { ...common, direction: 'sent', request: 'GET_VRING_BASE', payload: { index: 1, num: 0 } },
  ]);
});
