/** The host's Unix sockets of a guest: a real gateway and sockets, the guest is an endpoint here. */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import t, { type Test } from 'tap';
import {
  type ConnectionType,
  HOST_CID,
  linkEndpoints,
  VsockEndpoint,
  VsockFeature,
} from '../src/index.js';
import { ConnectLine, UnixGateway } from '../src/unix/index.js';
import { acceptWith, connectionOf, GUEST_CID } from './support/pair.js';
import { Recorder } from './support/recorder.js';
import { until } from './support/until.js';

t.setTimeout(120_000);

const MEBIBYTE = 1 << 20;

interface Machine {
  readonly path: string;
  readonly guest: VsockEndpoint;
  readonly host: VsockEndpoint;
  readonly gateway: UnixGateway;
}

function machine(t: Test): Machine {
  const folder = mkdtempSync(join(tmpdir(), 'rxvhost-vsock-'));
  const path = join(folder, 'vm');
  const host = new VsockEndpoint({ cid: HOST_CID });
  const guest = new VsockEndpoint({ cid: GUEST_CID });
  for (const side of [host, guest]) side.setFeatures(VsockFeature.SEQPACKET);
  const link = linkEndpoints(host, guest);
  const gateway = new UnixGateway(host, path, () => GUEST_CID);
  t.teardown(() => {
    gateway.close();
    link.unsubscribe();
    rmSync(folder, { recursive: true, force: true });
  });
  return { path, guest, host, gateway };
}

/** A program of the host's that listens for the guest. */
function listen(t: Test, path: string, onConnection: (socket: Socket) => void): Promise<Server> {
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    onConnection(socket);
  });
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return new Promise((resolve) => server.listen(path, () => resolve(server)));
}

/** A connection of the guest's to the host. */
function connectGuest({ guest }: Machine, port: number, type: ConnectionType = 'stream'): Recorder {
  const recorder = new Recorder();
  recorder.connection = guest.connect({ cid: HOST_CID, port, type }, recorder);
  return recorder;
}

/** A program of the host's, and all that it has read. */
class Program {
  read = '';
  ended = false;
  closed = false;
  readonly socket: Socket;

  constructor(t: Test, path: string) {
    this.socket = connect({ path, allowHalfOpen: true });
    this.socket.setEncoding('latin1').on('data', (text: string) => {
      this.read += text;
    });
    this.socket.on('end', () => {
      this.ended = true;
    });
    this.socket.on('close', () => {
      this.closed = true;
    });
    this.socket.on('error', () => {});
    t.teardown(() => this.socket.destroy());
  }
}

t.test('D9 T70 a guest reaches who listens on PATH_port, and both ends half-close', async (t) => {
  const m = machine(t);
  let heard = '';
  let ended = false;
  let socket: Socket | undefined;
  await listen(t, `${m.path}_52`, (accepted) => {
    socket = accepted.on('data', (bytes) => (heard += bytes)).on('end', () => (ended = true));
  });
  const guest = connectGuest(m, 52);
  await until('connected', () => guest.heard.includes('connected'));
  guest.connection?.send(Buffer.from('from the guest'));
  guest.connection?.end();
  await until('the end at the host', () => ended);
  t.equal(heard, 'from the guest', 'what came before the end is there');
  t.notOk(guest.connection?.closed, 'the other direction is still open');
  socket?.write('from the host');
  socket?.end();
  await until('the end at the guest', () => guest.heard.includes('closed well'));
  t.equal(guest.text, 'from the host');
  t.match(m.gateway.counters, { guestConnections: 1, refused: 0 });
});

t.test('D9 T70 the host may end first, and the guest goes on sending', async (t) => {
  const m = machine(t);
  let heard = 0;
  let closed = false;
  await listen(t, `${m.path}_52`, (socket) => {
    socket.end('only this');
    socket.on('data', ({ length }) => (heard += length)).on('close', () => (closed = true));
  });
  const guest = connectGuest(m, 52);
  await until('the end at the guest', () => guest.heard.includes('ended'));
  t.equal(guest.text, 'only this');
  for (let sent = 0; sent < 40; sent += 1) guest.connection?.send(Buffer.alloc(100_000, sent));
  guest.connection?.end();
  await until('everything', () => closed);
  t.equal(heard, 4_000_000);
  t.same(guest.heard.at(-1), 'closed well');
});

t.test('D9 a program of the host’s reaches a port of the guest’s', async (t) => {
  const m = machine(t);
  const guest = new Recorder();
  m.guest.listen(1234, acceptWith(guest));
  const program = new Program(t, m.path);
  program.socket.write('CONNECT 1234\n');
  await until('an answer', () => program.read.endsWith('\n'));
  const [, port] = /^OK (\d+)\n$/.exec(program.read) ?? [];
  t.equal(Number(port), connectionOf(guest).remote.port, 'it is told the port of its end');
  program.socket.end('hello');
  await until('hello', () => guest.text === 'hello' && guest.heard.includes('ended'));
  connectionOf(guest).send(Buffer.from('goodbye'));
  connectionOf(guest).end();
  await until('goodbye', () => program.closed);
  t.equal(program.read, `OK ${port}\ngoodbye`);
  t.match(m.gateway.counters, { hostConnections: 1, badLines: 0 });
});

t.test('T75 the CONNECT line may come in pieces, and with data behind it', async (t) => {
  const m = machine(t);
  const guest = new Recorder();
  m.guest.listen(7, acceptWith(guest));
  const program = new Program(t, m.path);
  for (const letter of 'CONNECT ') {
    program.socket.write(letter);
    await delay(2);
  }
  program.socket.write('7\nGET / HTTP/1.1\n');
  program.socket.write('more');
  await until('everything', () => guest.text === 'GET / HTTP/1.1\nmore');
});

t.test('T75 a line that is none ends the socket, and costs nothing', async (t) => {
  const m = machine(t);
  const lines = ['CONNECT x\n', 'connect 1\n', 'CONNECT 4294967295\n', `${'C'.repeat(5000)}`, '\n'];
  const programs = lines.map((line) => {
    const program = new Program(t, m.path);
    program.socket.write(line);
    return program;
  });
  const early = new Program(t, m.path);
  early.socket.end('CONNECT 1');
  await until('all closed', () => [...programs, early].every(({ ended }) => ended));
  t.ok(programs.every(({ read }) => read === ''));
  t.equal(m.gateway.counters.badLines, lines.length + 1);
  t.equal(m.host.statistics().opened, 0);
});

t.test('T75 the line is read however it is cut', async (t) => {
  const line = Buffer.from('CONNECT 65536\nrest');
  for (let cut = 0; cut <= line.length; cut += 1) {
    const reader = new ConnectLine();
    const first = reader.push(line.subarray(0, cut));
    const all = first.kind === 'complete' ? first : reader.push(line.subarray(cut));
    t.match(all, { kind: 'complete', port: 65536 });
    if (all.kind === 'complete') {
      const behind = first.kind === 'complete' ? line.subarray(cut) : Buffer.alloc(0);
      t.equal(`${all.rest}${behind}`, 'rest');
    }
  }
});

t.test('T75 programs that say nothing hold up only so many others', async (t) => {
  const m = machine(t);
  m.guest.listen(7, acceptWith(new Recorder()));
  const silent = Array.from({ length: 64 }, () => new Program(t, m.path));
  await until('all are connected', () => silent.every(({ socket }) => !socket.connecting));
  await delay(20);
  const next = new Program(t, m.path);
  next.socket.write('CONNECT 7\n');
  await delay(50);
  t.equal(next.read, '', 'it waits to be accepted');
  silent[0]?.socket.destroy();
  await until('it has its turn', () => next.read.startsWith('OK'));
});

t.test('D9 a port that nobody listens on is refused at once, in both directions', async (t) => {
  const m = machine(t);
  const guest = connectGuest(m, 99);
  await until('refused', () => guest.heard.includes('closed ECONNREFUSED'));
  const messages = connectGuest(m, 99, 'seqpacket');
  await until('refused', () => messages.heard.includes('closed ECONNREFUSED'));
  const program = new Program(t, m.path);
  program.socket.write('CONNECT 99\n');
  await until('closed', () => program.ended);
  t.equal(program.read, '');
  t.match(m.gateway.counters, { refused: 2, hostConnections: 0 });
});

t.test(
  'T74 a host that stops reading holds up its own connection only, within a bound',
  async (t) => {
    const m = machine(t);
    let stalled: Socket | undefined;
    await listen(t, `${m.path}_1`, (socket) => {
      stalled = socket.pause();
    });
    await listen(t, `${m.path}_2`, (socket) => socket.pipe(socket));
    const slow = connectGuest(m, 1);
    const quick = connectGuest(m, 2);
    await until(
      'both',
      () => slow.heard.includes('connected') && quick.heard.includes('connected'),
    );
    let taken = 0;
    for (let sent = 0; sent < 4; sent += 1) {
      connectionOf(slow).send(Buffer.alloc(MEBIBYTE, sent), () => (taken += 1));
    }
    connectionOf(quick).send(Buffer.from('are you there?'));
    await until('an echo', () => quick.text === 'are you there?');
    const before = process.cpuUsage();
    await delay(200);
    const { user, system } = process.cpuUsage(before);
    t.ok(user + system < 150_000, `nothing spins: ${user + system} µs of 200 ms`);
    t.ok(taken < 2, 'it has taken less than two of four mebibytes');
    let read = 0;
    stalled?.on('data', ({ length }) => (read += length)).resume();
    await until('all of it', () => read === 4 * MEBIBYTE);
  },
);

t.test('T71 T74 a guest that stops reading stops the program that writes to it', async (t) => {
  const m = machine(t);
  const guest = new Recorder();
  guest.holding = true;
  m.guest.listen(7, acceptWith(guest));
  const program = new Program(t, m.path);
  program.socket.write('CONNECT 7\n');
  program.socket.write(Buffer.alloc(4 * MEBIBYTE, 'x'));
  await until('credit is used up', () => guest.connection?.untakenBytes === 262_144);
  await delay(50);
  t.ok(program.socket.writableLength > 2 * MEBIBYTE, 'most of it has not left the program');
  guest.holding = false;
  guest.takeAll();
  await until('all of it', () => guest.bytes.length === 4 * MEBIBYTE);
});

t.test('T74 a guest that sends to a socket that is gone gets an RST', async (t) => {
  const m = machine(t);
  await listen(t, `${m.path}_1`, (socket) => setImmediate(() => socket.destroy()));
  const guest = connectGuest(m, 1);
  await until('connected', () => guest.heard.includes('connected'));
  await until('the end', () => guest.heard.includes('ended'));
  const { connection } = guest;
  for (let tries = 0; tries < 1000 && connection?.closed === false; tries += 1) {
    connection.send(Buffer.from('anybody?'));
    await delay(1);
  }
  t.same(guest.heard.at(-1), 'closed ECONNRESET');
});

t.test('D9 a reset by the guest closes the socket of the host', async (t) => {
  const m = machine(t);
  let closed = false;
  await listen(t, `${m.path}_1`, (socket) => {
    socket.resume().on('close', () => (closed = true));
    socket.on('end', () => socket.end());
  });
  const guest = connectGuest(m, 1);
  await until('connected', () => guest.heard.includes('connected'));
  guest.connection?.abort();
  await until('closed', () => closed);
});

t.test(
  'T74 T77 nothing is kept for a connection that was reset, or that nobody reads',
  async (t) => {
    const m = machine(t);
    const sockets: Socket[] = [];
    await listen(t, `${m.path}_1`, (socket) => sockets.push(socket.pause()));
    const guests = [connectGuest(m, 1), connectGuest(m, 1), connectGuest(m, 1)];
    await until('connected', () => guests.every(({ heard }) => heard.includes('connected')));
    await until('accepted', () => sockets.length === guests.length);
    for (const { connection } of guests) connection?.send(Buffer.alloc(4 * MEBIBYTE));
    await until('credit is used up', () => m.host.statistics().bytesReceived > MEBIBYTE);
    guests[0]?.connection?.abort();
    guests[1]?.connection?.close();
    for (const socket of sockets) socket.destroy();
    await until('all are gone', () => m.host.statistics().open === 0);
    t.ok(guests.every(({ connection }) => connection?.closed));
  },
);

t.test(
  'T77 what a guest can make the gateway keep for programs that never read is bounded',
  async (t) => {
    const m = machine(t);
    await listen(t, `${m.path}_1`, (socket) => socket.pause());
    const large = 64;
    const guests = Array.from({ length: large + 4 }, () => connectGuest(m, 1));
    await until('connected', () => guests.every(({ heard }) => heard.includes('connected')));
    for (const { connection } of guests) connection?.send(Buffer.alloc(2 * MEBIBYTE));
    let before = -1;
    while (m.host.statistics().bytesReceived > before) {
      before = m.host.statistics().bytesReceived;
      await delay(200);
    }
    // Ahead of each socket, and what the kernel keeps for it.
    const beside = 128 * 1024 + 512 * 1024;
    t.ok(before >= large * MEBIBYTE, 'the first ones may have a mebibyte under way');
    t.ok(before <= large * (MEBIBYTE + beside) + 4 * (262_144 + beside), `${before} bytes`);
    t.ok(
      connectionOf(guests.at(-1) as Recorder).bytesSent <= 262_144 + beside,
      'the last ones less',
    );
  },
);

t.test('D9 what the guest sent before it closed still comes to the host', async (t) => {
  const m = machine(t);
  let read = 0;
  let socket: Socket | undefined;
  await listen(t, `${m.path}_1`, (accepted) => (socket = accepted.pause()));
  const guest = connectGuest(m, 1);
  await until('connected', () => guest.heard.includes('connected'));
  guest.connection?.send(Buffer.alloc(600_000));
  guest.connection?.close();
  await delay(50);
  let ended = false;
  socket?.on('data', ({ length }) => (read += length)).on('end', () => (ended = true));
  socket?.resume();
  await until('all of it', () => ended);
  t.equal(read, 600_000);
});

t.test('D9 a path that is taken is refused, and a closed gateway gives its own back', async (t) => {
  const m = machine(t);
  t.throws(() => new UnixGateway(m.host, m.path, () => GUEST_CID), { code: 'EADDRINUSE' });
  const program = new Program(t, m.path);
  await until('connected', () => !program.socket.connecting);
  m.gateway.close();
  m.gateway.close();
  t.notOk(existsSync(m.path));
  await until('closed', () => program.ended);
  const guest = connectGuest(m, 1);
  await until('refused', () => guest.heard.includes('closed ECONNREFUSED'));
});
