/** A Linux guest in QEMU whose vsock is `rxvhost vsock`, used by programs on the host. */
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { HostPrograms, type Received, receive, sendPattern } from './support/host-program.js';
import { patternHash } from './support/pattern.js';
import { Guest } from './support/qemu.js';
import { needsGuestImage, needsProgram, peerTest } from './support/requirements.js';
import { VsockServer } from './support/vsock-server.js';

t.setTimeout(300_000);

const MEBIBYTE = 1 << 20;
const HOST = 2;
const LINE = 32;
const requirements = [needsGuestImage, needsProgram('qemu-system-x86_64')];

function newFolder(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'rxvhost-vsock-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** What a sender of a pattern has to see at the other end, as vsock-tool says it. */
function said({ bytes, sha256 }: Received): string {
  return `received ${bytes} ${sha256}`;
}

function expected(seed: number, bytes: number): Received {
  return { bytes, sha256: patternHash(seed, bytes) };
}

/** A service of the guest's that is listening by the time this resolves. */
async function serveInGuest(guest: Guest, command: string): Promise<void> {
  await guest.check(`vsock-tool ${command} >/tmp/served 2>&1 & sleep 0.3`);
}

/** What that service has said, once it has ended. */
function servedBy(guest: Guest): Promise<string> {
  return guest.check('while pidof vsock-tool >/dev/null; do sleep 0.1; done; cat /tmp/served');
}

peerTest(t, 'D9 a guest of QEMU has a vsock', requirements, async (t) => {
  const folder = newFolder(t);
  const paths = { socketPath: join(folder, 'vm.sock'), udsPath: join(folder, 'vm.vsock') };
  const server = await VsockServer.start({ ...paths, guestCid: 42 });
  t.teardown(() => server.kill());
  const idle = server.heldResources();
  const host = new HostPrograms(t, paths.udsPath);
  let guest = await Guest.start({ vsockPath: paths.socketPath });
  t.teardown(() => guest.kill());

  await t.test(
    'D9 a port that nobody listens on is refused at once, in both directions',
    async (t) => {
      // Not an ETIMEDOUT after two seconds.
      t.match(await guest.check(`vsock-tool refused ${HOST} 99`), /^ECONNRESET after/);
      await t.rejects(host.connect(99), /port 99 is refused/);
    },
  );

  await t.test('D9 256 MiB arrive unchanged each way at once on one connection', async (t) => {
    const bytes = 256 * MEBIBYTE;
    const accepted = host.accept(1);
    const running = guest.check(`vsock-tool exchange ${HOST} 1 ${bytes} 7`, 120_000);
    const socket = await accepted;
    sendPattern(socket, 8, bytes);
    t.same(await receive(socket), expected(7, bytes), 'guest to host');
    t.match(await running, said(expected(8, bytes)), 'host to guest');
  });

  await t.test('D9 the host may open the connection', async (t) => {
    const bytes = 8 * MEBIBYTE;
    await serveInGuest(guest, `serve 2 ${bytes} 9`);
    const socket = await host.connect(2);
    sendPattern(socket, 10, bytes);
    t.same(await receive(socket), expected(9, bytes), 'guest to host');
    t.match(await servedBy(guest), said(expected(10, bytes)), 'host to guest');
  });

  await t.test('T70 after the guest has ended, the host goes on sending', async (t) => {
    const accepted = host.accept(3);
    const running = guest.check(`vsock-tool exchange ${HOST} 3 ${MEBIBYTE} 11`);
    const socket = await accepted;
    t.same(await receive(socket), expected(11, MEBIBYTE), 'the end of the guest has come');
    sendPattern(socket, 12, 8 * MEBIBYTE);
    t.match(await running, said(expected(12, 8 * MEBIBYTE)));
  });

  await t.test('T70 after the host has ended, the guest goes on sending', async (t) => {
    const accepted = host.accept(4);
    const running = guest.check(`vsock-tool exchange ${HOST} 4 ${8 * MEBIBYTE} 13 after-end`);
    const socket = await accepted;
    sendPattern(socket, 14, MEBIBYTE);
    t.same(await receive(socket), expected(13, 8 * MEBIBYTE));
    t.match(await running, said(expected(14, MEBIBYTE)), 'the end of the host has come');
  });

  await t.test('T77 200 connections at once in each direction', async (t) => {
    const echo = await host.listen(5, (socket) => socket.pipe(socket));
    t.match(await guest.check(`vsock-tool many ${HOST} 5 200`), /^answered 200 of 200/);
    echo.close();
    await serveInGuest(guest, 'echo 6');
    const sockets = await Promise.all(Array.from({ length: 200 }, () => host.connect(6)));
    const answers = await Promise.all(
      sockets.map(async (socket, index) => {
        const text = `question ${index}`.padEnd(LINE);
        socket.write(text);
        const [answer] = await once(socket.resume(), 'data');
        socket.end();
        return String(answer) === text;
      }),
    );
    t.equal(answers.filter(Boolean).length, 200);
  });

  await t.test('T71 T74 a peer that stops reading stalls its own connection only', async (t) => {
    const held = await hold(host, guest, 7);
    held.write(Buffer.alloc(4 * MEBIBYTE)); // the guest reads nothing of it
    const silent = host.accept(8); // the host reads nothing of this one
    await guest.check(`vsock-tool exchange ${HOST} 8 ${4 * MEBIBYTE} 1 >/dev/null & sleep 0.5`);
    (await silent).pause();
    const echo = await host.listen(9, (socket) => socket.pipe(socket));
    t.match(await guest.check(`vsock-tool many ${HOST} 9 20`), /^answered 20 of 20/);
    echo.close();
    t.ok(held.writableLength > 0, 'the one still waits');
  });

  await t.test('D9 a guest’s program that is killed closes the host’s socket', async (t) => {
    const socket = await hold(host, guest, 10);
    const over = isOver(socket);
    await guest.check('kill -9 $(cat /tmp/held)');
    await over;
    t.pass('it has heard of the end');
  });

  await t.test(
    'T74 a program of the host’s that is gone resets the guest’s connection',
    async (t) => {
      const accepted = host.accept(11);
      const running = guest.run(`vsock-tool exchange ${HOST} 11 ${64 * MEBIBYTE} 1`);
      (await accepted).destroy();
      const { status, output } = await running;
      t.equal(status, 1);
      t.match(output, /^(send|recv): (Connection reset by peer|Broken pipe)/m);
    },
  );

  await t.test('D9 10,000 HTTP requests, 50 at once', async (t) => {
    const http = createServer(({ url = '' }, response) => {
      response.end(`answer ${url.slice(1)}`);
    });
    http.listen(`${paths.udsPath}_80`);
    await once(http, 'listening');
    const output = await guest.check(`vsock-tool http ${HOST} 80 10000 50`, 120_000);
    t.match(output, /^answered 10000 of 10000/);
    http.close();
  });

  await t.test('T76 connections outlive a pause of the guest', async (t) => {
    const bytes = 32 * MEBIBYTE;
    const accepted = host.accept(12);
    const running = guest.check(`vsock-tool exchange ${HOST} 12 ${bytes} 15`, 60_000);
    const socket = await accepted;
    sendPattern(socket, 16, bytes);
    const received = receive(socket);
    await guest.pause();
    await guest.resume();
    t.same(await received, expected(15, bytes));
    t.match(await running, said(expected(16, bytes)));
  });

  await t.test('T76 a reboot ends the guest’s connections, and the next ones work', async (t) => {
    const socket = await hold(host, guest, 13);
    const over = isOver(socket);
    await guest.reboot();
    await over;
    await answers(t, host, guest);
  });

  await t.test('D9 it works for a new QEMU after SIGKILL ended the old one', async (t) => {
    const socket = await hold(host, guest, 14);
    const over = isOver(socket);
    t.same(await guest.kill(), { status: null, signal: 'SIGKILL' });
    await over;
    guest = await Guest.start({ vsockPath: paths.socketPath });
    await answers(t, host, guest);
  });

  await t.test('the server holds no more than before when its guests are gone', async (t) => {
    await guest.kill();
    await server.says(/disconnected[\s\S]*disconnected/);
    t.same(await server.heldResourcesOnce(idle), idle);
    const { exit, statistics, duration } = await server.stop();
    t.same(exit, { status: 0, signal: null });
    t.ok(duration < 1000, `took ${Math.round(duration)} ms`);
    t.notOk(existsSync(paths.socketPath) || existsSync(paths.udsPath), 'no socket file');
    t.notMatch(server.stderr, /^\s+at /m, 'no stack trace');
    const { device, connections } = statistics;
    t.same(device.transmit.drops, { malformed: 0, spoofed: 0, misaddressed: 0 });
    t.same([device.receive.errors, device.transmit.errors, connections.open], [0, 0, 0]);
    t.same([connections.resetsSent.protocol, connections.resetsSent.overrun], [0, 0]);
  });
});

/** The host's end of a connection whose program in the guest, `/tmp/held`, does nothing. */
async function hold(host: HostPrograms, guest: Guest, port: number): Promise<Socket> {
  const accepted = host.accept(port);
  await guest.check(`vsock-tool hold ${HOST} ${port} >/dev/null & echo $! >/tmp/held`);
  return accepted;
}

/** Resolves when nothing more can come on a connection. */
function isOver(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    socket.once('end', resolve).once('close', () => resolve());
    socket.resume();
  });
}

async function answers(t: Test, host: HostPrograms, guest: Guest): Promise<void> {
  const echo = await host.listen(20, (socket) => socket.pipe(socket));
  t.match(await guest.check(`vsock-tool many ${HOST} 20 5`), /^answered 5 of 5/);
  echo.close();
}

peerTest(
  t,
  'D9 two guests of QEMU reach each other through one server',
  requirements,
  async (t) => {
    const folder = newFolder(t);
    const path = (name: string) => join(folder, name);
    const server = await VsockServer.start({
      socketPath: path('1.sock'),
      udsPath: path('1.vsock'),
      guestCid: 42,
      arguments: [`--sibling=43,socket-path=${path('2.sock')}`, '--forward=43:80'],
    });
    t.teardown(() => server.kill());
    await server.says(/guest 43: listening/);
    const [one, two] = (await Promise.all(
      ['1.sock', '2.sock'].map((name) => Guest.start({ vsockPath: path(name), memory: 128 })),
    )) as [Guest, Guest];
    for (const guest of [one, two]) t.teardown(() => guest.kill());
    const bytes = 8 * MEBIBYTE;
    await serveInGuest(two, `serve 80 ${bytes} 1`);
    const output = await one.check(`vsock-tool exchange 43 80 ${bytes} 2`, 60_000);
    t.match(output, said(expected(1, bytes)));
    t.match(await servedBy(two), said(expected(2, bytes)));
    t.match(await one.check('vsock-tool refused 43 81'), /^ECONNRESET/, 'no other port');
    t.match(await two.check('vsock-tool refused 42 80'), /^ECONNRESET/, 'no other direction');
  },
);
