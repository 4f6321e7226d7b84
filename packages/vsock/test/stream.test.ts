import { once } from 'node:events';
import { createServer, get, request } from 'node:http';
import { text } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { VhostError } from '@rxvhost/core';
import t from 'tap';
import {
  type Message,
  VsockAgent,
  type VsockEvent,
  VsockMessageSocket,
  type VsockSocket,
} from '../src/index.js';
import { vsockPair } from './support/vsock-pair.js';

t.setTimeout(120_000);

/** Everything up to the end; unlike the stream's iterator it leaves the other direction alone. */
async function readAll(socket: VsockSocket): Promise<Buffer> {
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  await once(socket, 'end');
  return Buffer.concat(chunks);
}

/** A server that takes one connection; both ends of it. */
async function connected(
  pair: ReturnType<typeof vsockPair>,
  options: { allowHalfOpen?: boolean; type?: 'stream' | 'seqpacket'; records?: boolean } = {},
): Promise<{ near: VsockSocket; far: VsockSocket }> {
  const server = pair.host.createServer(options).listen();
  const port = server.address()?.port ?? 0;
  const near = pair.guest.connect({ cid: 2, port, ...options });
  const [[far]] = await Promise.all([once(server, 'connection'), once(near, 'connect')]);
  server.close();
  return { near, far };
}

t.test('D8 sockets carry bytes both ways and know both ends', async (t) => {
  const pair = vsockPair(t);
  const { near, far } = await connected(pair);
  t.equal(near.remoteCid, 2);
  t.equal(near.remotePort, far.localPort);
  t.equal(far.remoteCid, 42);
  t.equal(far.remotePort, near.localPort);
  t.equal(far.remoteAddress, '42');
  t.same(near.address(), { cid: 42, port: near.localPort });
  t.equal(near.readyState, 'open');
  near.resume().end('hello');
  t.equal(`${await readAll(far)}`, 'hello');
  await once(near, 'close');
  t.equal(near.bytesWritten, 5);
  t.equal(far.bytesRead, 5);
  t.equal(near.readyState, 'closed');
  t.equal(pair.host.endpoint.counters.open, 0);
});

t.test('T70 a socket with allowHalfOpen goes on after the peer has ended', async (t) => {
  const { near, far } = await connected(vsockPair(t), { allowHalfOpen: true });
  near.end('the question');
  t.equal(`${await readAll(far)}`, 'the question');
  const answer = Buffer.alloc(3_000_000, 'answer');
  far.end(answer);
  t.same(await readAll(near), answer);
});

t.test('a large transfer each way at once arrives whole and in order', async (t) => {
  const { near, far } = await connected(vsockPair(t), { allowHalfOpen: true });
  const sent = Buffer.from(Uint32Array.from({ length: 2_000_000 }, (_, at) => at).buffer);
  const [there, back] = await Promise.all([
    readAll(far),
    readAll(near),
    new Promise<void>((resolve) => near.end(sent, resolve)),
    new Promise<void>((resolve) => far.end(sent, resolve)),
  ]);
  t.ok(there.equals(sent));
  t.ok(back.equals(sent));
});

t.test('D8 a closed port is ECONNREFUSED, a silent one ETIMEDOUT', async (t) => {
  const { host, guest } = vsockPair(t);
  const refused = guest.connect({ cid: 2, port: 1 });
  await t.rejects(once(refused, 'connect'), { code: 'ECONNREFUSED' });
  host.endpoint.listen(2, { request() {} });
  // Timers of connections let the process end.
  const alive = setTimeout(() => {}, 10_000);
  const silent = guest.connect({ cid: 2, port: 2, connectTimeout: 20 });
  await t.rejects(once(silent, 'connect'), { code: 'ETIMEDOUT' });
  clearTimeout(alive);
});

t.test('D8 datagrams are refused with EOPNOTSUPP', async (t) => {
  const { guest } = vsockPair(t);
  const refused = { code: 'EOPNOTSUPP' };
  t.throws(() => guest.connect({ cid: 2, port: 1, type: 'dgram' }), refused);
  t.throws(() => guest.datagrams.bind(1), refused);
  t.throws(() => guest.datagrams.send(Buffer.alloc(1), 2, 1), refused);
  t.throws(() => guest.datagrams.receive(), refused);
  t.equal(guest.datagrams.isAllowed(2, 1), false);
});

t.test('D8 buffer sizes keep within their bounds, and move them', async (t) => {
  const { near, far } = await connected(vsockPair(t));
  t.same(near.bufferSizes, { size: 262_144, min: 128, max: 262_144 });
  near.setBufferSizes({ max: 1000 });
  t.same(near.bufferSizes, { size: 1000, min: 128, max: 1000 });
  near.setBufferSizes({ min: 2000 });
  t.same(near.bufferSizes, { size: 2000, min: 2000, max: 2000 });
  near.setBufferSizes({ size: 100 });
  t.same(near.bufferSizes, { size: 100, min: 100, max: 2000 });
  t.throws(() => near.setBufferSizes({ size: 0 }), { code: 'EINVAL' });
  const sent = Buffer.alloc(10_000, 'x');
  far.end(sent);
  t.same(await readAll(near), sent, 'a small buffer is slow, not deaf');
});

t.test('writing to a peer that has gone fails with EPIPE or ECONNRESET', async (t) => {
  const { near, far } = await connected(vsockPair(t), { allowHalfOpen: true });
  far.destroy();
  await once(near.resume(), 'end');
  near.write('x');
  const [error] = await once(near, 'error');
  t.match(error.code, /EPIPE|ECONNRESET/);
});

t.test('an end with an error is an RST for the peer', async (t) => {
  const { near, far } = await connected(vsockPair(t));
  near.on('error', () => {});
  near.destroy(new Error('gone'));
  const [error] = await once(far, 'error');
  t.equal(error.code, 'ECONNRESET');
});

t.test('an AbortSignal destroys a socket and closes a server', async (t) => {
  const { host, guest } = vsockPair(t);
  host.endpoint.listen(7, { request() {} });
  const abort = new AbortController();
  const socket = guest.connect({ cid: 2, port: 7, signal: abort.signal });
  const server = host.createServer().listen({ port: 8, signal: abort.signal });
  const closed = once(server, 'close');
  abort.abort();
  const [error] = await once(socket, 'error');
  t.equal(error.name, 'AbortError');
  await closed;
  t.notOk(server.listening);
});

t.test('a socket on which nothing happens emits timeout', async (t) => {
  const { near, far } = await connected(vsockPair(t));
  const alive = setTimeout(() => {}, 10_000);
  near.setTimeout(10);
  await once(near, 'timeout');
  clearTimeout(alive);
  t.equal(near.timeout, 10);
  t.notOk(near.destroyed);
  near.setTimeout(0);
  far.destroy();
});

t.test(
  'a server emits its connections, refuses over its limit, and closes after the last',
  async (t) => {
    const { host, guest } = vsockPair(t);
    const seen: VsockSocket[] = [];
    const events: VsockEvent['kind'][] = [];
    host.connections$.subscribe((socket) => seen.push(socket));
    host.events$.subscribe(({ kind }) => events.push(kind));
    const server = host.createServer().listen(99);
    server.maxConnections = 1;
    t.throws(() => host.createServer().listen(99), { code: 'EADDRINUSE' });
    const first = guest.connect({ cid: 2, port: 99 });
    await once(first, 'connect');
    const second = guest.connect({ cid: 2, port: 99 });
    await t.rejects(once(second, 'connect'), { code: 'ECONNREFUSED' });
    t.equal(seen.length, 1);
    t.same(events, ['opening', 'opening', 'closed']);
    let closed = false;
    server.close(() => {
      closed = true;
    });
    await new Promise((resolve) => setTimeout(resolve, 5));
    t.notOk(closed);
    seen[0]?.resume();
    first.end();
    await once(server, 'close');
    server.listen(99);
    await once(guest.connect({ cid: 2, port: 99 }), 'connect');
    t.equal(seen.length, 2, 'it may listen again');
  },
);

t.test('D6 a reset of the transport is ECONNRESET for every socket', async (t) => {
  const pair = vsockPair(t);
  const { near, far } = await connected(pair);
  const errors = Promise.all([once(near, 'error'), once(far, 'error')]);
  for (const { endpoint } of [pair.host, pair.guest]) {
    endpoint.reset(new VhostError('ECONNRESET', 'the transport was reset'));
  }
  for (const [error] of await errors) t.equal(error.code, 'ECONNRESET');
});

t.test('T79 messages keep their borders, empty ones too', async (t) => {
  const { near, far } = await connected(vsockPair(t), { type: 'seqpacket' });
  t.ok(near instanceof VsockMessageSocket);
  const lengths = [0, 1, 70_000, 0, 0, 3, 262_144, 5];
  for (const length of lengths) near.write(Buffer.alloc(length, 'm'));
  near.end();
  const got: number[] = [];
  for await (const message of far) got.push(message.length);
  t.same(got, lengths);
});

t.test(
  'T79 the ends of records are told to whoever asks, a message over the peer’s buffer is EMSGSIZE',
  async (t) => {
    const { near, far } = await connected(vsockPair(t), { type: 'seqpacket', records: true });
    const sender = near as VsockMessageSocket;
    t.throws(() => sender.sendMessage(Buffer.alloc(262_145)), { code: 'EMSGSIZE' });
    sender.sendMessage('a');
    sender.sendMessage('b', { endOfRecord: true });
    sender.end();
    const got: [string, boolean][] = [];
    for await (const { bytes, endOfRecord } of far as AsyncIterable<Message>) {
      got.push([bytes.toString(), endOfRecord]);
    }
    t.same(got, [
      ['a', false],
      ['b', true],
    ]);
  },
);

t.test('http serves and asks over vsock', async (t) => {
  const { host, guest } = vsockPair(t);
  const web = createServer(async (incoming, response) => {
    response.setHeader('x-peer', String(incoming.socket.remoteAddress));
    await pipeline(incoming, response);
  });
  const server = host
    .createServer({ allowHalfOpen: true }, (socket) => void web.emit('connection', socket))
    .listen(80);
  const answer = await new Promise<string>((resolve, reject) => {
    const question = request(
      { method: 'POST', createConnection: () => guest.connect({ cid: 2, port: 80 }) },
      (response) => {
        t.equal(response.headers['x-peer'], '42');
        text(response).then(resolve, reject);
      },
    );
    question.on('error', reject);
    question.end('over vsock');
  });
  t.equal(answer, 'over vsock');

  const agent = new VsockAgent(guest, { cid: 2, port: 80 }, { keepAlive: true, maxSockets: 50 });
  const ask = () =>
    new Promise<number>((resolve, reject) => {
      get({ agent, path: '/' }, (response) => {
        response.resume().on('end', () => resolve(response.statusCode ?? 0));
      }).on('error', reject);
    });
  const codes = await Promise.all(Array.from({ length: 500 }, ask));
  t.ok(codes.every((code) => code === 200));
  t.equal(guest.endpoint.counters.opened, 51, '50 connections served 500 requests');
  agent.destroy();
  await server[Symbol.asyncDispose]();
});
