import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { closeFd, connectUnix, receiveBytes, sendWithFds, UnixListener } from '../src/index.js';
import { cleanTest, codeOf, eventually, messageOf, turns } from './support/resources.js';

const HELLO = Uint8Array.from([1, 2, 3, 4, 5]);
const folder = mkdtempSync(join(tmpdir(), 'rxvhost-sys-'));
let number = 0;
function freshPath(): string {
  number += 1;
  return join(folder, `${number}.sock`);
}
t.teardown(() => rmSync(folder, { recursive: true }));

cleanTest(t, 'a listener hands out connections and removes its file', async (t) => {
  const path = freshPath();
  const listener = new UnixListener(path);
  t.equal(
    codeOf(() => new UnixListener(path)),
    'EADDRINUSE',
    'T17 a live server is left alone',
  );
  t.match(
    messageOf(() => new UnixListener(path)),
    /another server listens there/,
  );
  const clients = [connectUnix(path), connectUnix(path)];
  const connections: number[] = [];
  let completed = false;
  const first = listener.connections$.subscribe((fd) => {
    connections.push(fd);
    first.unsubscribe();
  });
  // The two probes above are connections too, closed by now.
  await eventually(() => connections.length === 1);
  await turns(3);
  t.equal(connections.length, 1, 'the others wait in the backlog');
  listener.connections$.subscribe({
    next: (fd) => connections.push(fd),
    complete: () => {
      completed = true;
    },
  });
  let busy: unknown;
  listener.connections$.subscribe({
    error: (error) => {
      busy = error.code;
    },
  });
  t.equal(busy, 'EBUSY');
  t.ok(await eventually(() => connections.length === 4));
  sendWithFds(clients[0] as number, HELLO, []);
  const got = connections.map((fd) => receiveBytes(fd, new Uint8Array(9)));
  t.same(got.sort(), [0, 0, 5, undefined].sort(), 'non-blocking connections');
  listener.close();
  listener.close();
  t.ok(completed);
  t.notOk(existsSync(path));
  t.equal(
    codeOf(() => connectUnix(path)),
    'ENOENT',
  );
  for (const fd of [...clients, ...connections]) closeFd(fd);
});

cleanTest(t, 'T17 a stale socket file is replaced, any other file is not', async (t) => {
  const path = freshPath();
  const script = `import net from 'node:net';
    net.createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'));`;
  spawnSync(process.execPath, ['--input-type=module', '-e', script]);
  t.ok(existsSync(path), 'left by a server that was killed');
  t.equal(
    codeOf(() => connectUnix(path)),
    'ECONNREFUSED',
  );
  const listener = new UnixListener(path);
  closeFd(connectUnix(path));
  listener.close();

  const file = freshPath();
  writeFileSync(file, 'precious');
  t.equal(
    codeOf(() => new UnixListener(file)),
    'EEXIST',
  );
  t.ok(existsSync(file));
  t.equal(
    codeOf(() => new UnixListener(join(folder, 'x'.repeat(108)))),
    'ENAMETOOLONG',
  );
  t.equal(
    codeOf(() => new UnixListener('')),
    'EINVAL',
  );
  t.equal(
    codeOf(() => new UnixListener('/nonexistent/x.sock')),
    'ENOENT',
  );
  t.equal(
    codeOf(() => connectUnix('x'.repeat(108))),
    'ENAMETOOLONG',
  );
  t.equal(
    codeOf(() => connectUnix(file)),
    'ECONNREFUSED',
  );
});

cleanTest(t, 'close leaves a file alone that somebody else has put there', async (t) => {
  const path = freshPath();
  const first = new UnixListener(path);
  unlinkSync(path);
  const second = new UnixListener(path);
  first.close();
  t.ok(existsSync(path));
  closeFd(connectUnix(path));
  unlinkSync(path);
  second.close();
});

cleanTest(t, 'a full backlog is told at once', async (t) => {
  const path = freshPath();
  const listener = new UnixListener(path);
  const clients: number[] = [];
  const fill = (): void => {
    for (let i = 0; i < 200; i += 1) clients.push(connectUnix(path));
  };
  t.equal(codeOf(fill), 'EAGAIN');
  t.equal(
    codeOf(() => new UnixListener(path)),
    'EADDRINUSE',
    'a busy server is not stale',
  );
  let accepted = 0;
  listener.connections$.subscribe((fd) => {
    accepted += 1;
    closeFd(fd);
  });
  t.ok(await eventually(() => accepted === clients.length));
  listener.close();
  for (const fd of clients) closeFd(fd);
});

cleanTest(t, 'a client may close the listener that it has just connected to', async (t) => {
  const listener = new UnixListener(freshPath());
  const client = connectUnix(listener.path);
  const other = connectUnix(listener.path);
  let connections = 0;
  listener.connections$.subscribe((fd) => {
    connections += 1;
    closeFd(fd);
    listener.close();
  });
  await turns(5);
  t.equal(connections, 1);
  closeFd(client);
  closeFd(other);
});

t.test('T13 out of fds: clients wait, nothing spins, accepting goes on afterwards', async (t) => {
  const fixture = fileURLToPath(new URL('./fixtures/out-of-fds.js', import.meta.url));
  const child = spawn(
    'bash',
    ['-c', `ulimit -n 256; exec "$0" "$@"`, process.execPath, fixture, freshPath()],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  );
  let output = '';
  child.stdout.on('data', (data) => {
    output += data;
  });
  t.equal(await new Promise((resolve) => child.on('close', resolve)), 0);
  const result = JSON.parse(output);
  t.match(result, { accepted: true, code: 'EMFILE' });
  t.ok(result.errors >= 2 && result.errors <= 6, `tried again by timer: ${result.errors} times`);
  t.ok(result.cpuMilliseconds < 300, `${result.cpuMilliseconds} ms of CPU`);
});
