import { spawn, spawnSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { FEATURE, HOST_OFFLOADS, NET_FEATURE, type NetStatistics, VhostError } from '@rxvhost/core';
import { closeFd, socketPair } from '@rxvhost/sys';
import { VhostUserFrontend } from '@rxvhost/vhost-user';
import t, { type Test } from 'tap';
import { connectGuest, exchange } from './guest.js';
import {
  ENDS_WITHIN,
  type Outcome,
  type RunningCli,
  runCli,
  runHere,
  startCli,
} from './run-cli.js';

const folder = mkdtempSync(join(tmpdir(), 'rxvhost-cli-'));
t.setTimeout(120_000);
t.teardown(() => rmSync(folder, { recursive: true, force: true }));

/** Root may write everywhere, unless its capabilities are gone. */
const WITHOUT_PRIVILEGES =
  process.geteuid?.() === 0 ? ['setpriv', '--bounding-set=-all', '--inh-caps=-all'] : [];

let counter = 0;
/** A path that nothing stands at yet. */
function freshPath(): string {
  counter += 1;
  return join(folder, `${counter}.sock`);
}

function assertRefused(t: Test, outcome: Outcome, pattern: RegExp): void {
  t.match(outcome.stderr, pattern);
  t.match(outcome.stderr, /^rxvhost: [^\n]+\n$/, 'one line');
  t.equal(outcome.stdout, '');
  t.equal(outcome.code, 1);
}

/** Starts a NIC with a loop behind it and waits until it listens. */
async function startNic(t: Test, path: string, ...rest: readonly string[]): Promise<RunningCli> {
  const backend = rest.some((arg) => arg.startsWith('--backend')) ? [] : ['--backend=loopback'];
  const cli = startCli(['net', `--socket-path=${path}`, ...backend, ...rest]);
  t.teardown(() => cli.child.kill('SIGKILL'));
  await cli.says(/listening on/);
  return cli;
}

/** Ends the command by a signal. */
async function stop(t: Test, cli: RunningCli, signal: NodeJS.Signals = 'SIGTERM') {
  const start = performance.now();
  cli.child.kill(signal);
  const outcome = await cli.ended;
  t.ok(performance.now() - start < ENDS_WITHIN, `${signal} ends it at once`);
  t.equal(outcome.code, 0);
  return outcome;
}

t.test('T17 what the machine refuses gets one line with the fix and exit code 1', async (t) => {
  const net = (path: string, backend = 'null') =>
    runHere(['net', `--socket-path=${path}`, `--backend=${backend}`]);

  await t.test('a path that another server listens on', async (t) => {
    const path = freshPath();
    const other = createServer().listen(path);
    t.teardown(() => other.close());
    await new Promise((resolve) => other.once('listening', resolve));
    assertRefused(t, await net(path), /in use by another server: .*another path/);
    t.ok(existsSync(path), 'the other server’s file stays');
  });
  await t.test('a path with a file that is no socket', async (t) => {
    const path = freshPath();
    writeFileSync(path, 'precious');
    assertRefused(t, await net(path), /exists and is no socket: remove it/);
    t.equal(statSync(path).size, 8, 'the file stays');
  });
  await t.test('a path in no directory', async (t) => {
    assertRefused(t, await net(join(folder, 'none', 'x.sock')), /no directory .*none: .*mkdir -p/);
  });
  await t.test('a directory without permission', async (t) => {
    const closed = join(folder, 'closed');
    mkdirSync(closed, { mode: 0o500 });
    const args = ['net', `--socket-path=${join(closed, 'x.sock')}`, '--backend=null'];
    assertRefused(t, await runCli(args, {}, WITHOUT_PRIVILEGES), /no permission .*closed: /);
  });
  await t.test('an fd that is not open', async (t) => {
    const outcome = await runCli(['net', '--fd=77', '--backend=null']);
    assertRefused(t, outcome, /--fd=77 .*EBADF.*connected Unix stream socket/);
  });
  await t.test('an fd that is no connected Unix stream socket', async (t) => {
    const [datagram, peer] = socketPair('datagram');
    const file = openSync('/dev/null', 'r');
    const args = ['net', '--fd=3', '--backend=null'];
    for (const fd of [datagram, file]) {
      const outcome = await runCli(args, { stdio: ['ignore', 'pipe', 'pipe', fd] });
      assertRefused(t, outcome, /--fd=3 .*connected Unix stream socket open as descriptor 3/);
    }
    closeFd(datagram);
    closeFd(peer);
    closeSync(file);
  });
  await t.test('a backend fd that no provider takes', async (t) => {
    assertRefused(t, await net(freshPath(), 'fd:77'), /fd:77 .*EBADF.*leave a tap open/);
  });
});

t.test(
  'T17 it replaces a stale socket file, says who connects, and waits for the next',
  async (t) => {
    const path = freshPath();
    const first = await startNic(t, path);
    first.child.kill('SIGKILL');
    await first.ended;
    t.ok(existsSync(path), 'a killed server leaves its file');

    const cli = await startNic(t, path);
    for (const id of [1, 2, 3]) {
      const guest = await connectGuest(VhostUserFrontend.connect(path));
      await cli.says(new RegExp(`front-end ${id} connected \\(pid ${process.pid}\\)`));
      await exchange(t, guest, 500);
      guest.close();
      await cli.says(new RegExp(`front-end ${id} disconnected`));
    }
    await stop(t, cli);
    t.notOk(existsSync(path), 'the socket file is gone');
  },
);

t.test('T17 SIGTERM and SIGINT end it at once, in the middle of traffic too', async (t) => {
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    const path = freshPath();
    const cli = await startNic(t, path, '--stats');
    const guest = await connectGuest(VhostUserFrontend.connect(path));
    const frame = new Uint8Array(1000);
    const sending = setInterval(() => {
      while (guest.nic.driver.send(frame));
    }, 1);
    await delay(200);
    const { stdout } = await stop(t, cli, signal);
    clearInterval(sending);
    guest.close();
    t.notOk(existsSync(path), 'the socket file is gone');
    const { queues } = JSON.parse(stdout) as NetStatistics;
    t.ok((queues[1]?.frames ?? 0) > 100, 'final statistics are one JSON object on stdout');
  }
});

/** Connects once a server listens: its socket file is there a moment before that. */
async function connectSoon(path: string): Promise<VhostUserFrontend> {
  for (;;) {
    try {
      return VhostUserFrontend.connect(path);
    } catch (error) {
      const early = error instanceof VhostError && /^(ENOENT|ECONNREFUSED)$/.test(error.code);
      if (!early) throw error;
    }
    await delay(10);
  }
}

t.test('the README’s network card in ten lines works as it stands there', async (t) => {
  const readme = readFileSync(new URL('../../../../README.md', import.meta.url), 'utf8');
  const source = readFileSync(new URL('../../test/first-nic.ts', import.meta.url), 'utf8');
  t.ok(readme.includes(`\`\`\`ts\n${source}\`\`\``), 'the README shows test/first-nic.ts');
  t.ok(source.split('\n').filter((line) => line !== '').length <= 10);

  const path = freshPath();
  const program = fileURLToPath(new URL('./first-nic.js', import.meta.url));
  const child = spawn(process.execPath, [program, path], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.teardown(() => child.kill('SIGKILL'));
  let said = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (said += text));
  const guest = await connectGuest(await connectSoon(path));
  await exchange(t, guest, 100);
  while (!/queue 1: \d+ kicks/.test(said)) await delay(10);
  t.match(said, `process ${process.pid} connected`);
  guest.close();
});

t.test('--once ends after the first front-end', async (t) => {
  const path = freshPath();
  const cli = await startNic(t, path, '--once');
  const guest = await connectGuest(VhostUserFrontend.connect(path));
  await exchange(t, guest, 10);
  guest.close();
  t.equal((await cli.ended).code, 0);
  t.notOk(existsSync(path));
});

t.test('--fd serves an inherited socket and ends with it', async (t) => {
  const [ours, theirs] = socketPair();
  const cli = startCli(['net', '--fd=3', '--backend=loopback', '--queue-size', '256'], {
    stdio: ['ignore', 'pipe', 'pipe', theirs],
  });
  t.teardown(() => cli.child.kill('SIGKILL'));
  closeFd(theirs);
  const guest = await connectGuest(new VhostUserFrontend(ours));
  await cli.says(/serving fd 3[\s\S]*front-end 1 connected/);
  await exchange(t, guest, 10);
  guest.close();
  t.equal((await cli.ended).code, 0);
});

t.test('options reach the device', async (t) => {
  const path = freshPath();
  const options = ['--mac=52:54:00:aa:bb:cc', '--mtu', '1400', '--queue-size=128', '--iommu'];
  const cli = await startNic(t, path, ...options);
  const frontend = VhostUserFrontend.connect(path);
  const { offeredFeatures } = await frontend.handshake({ features: 0n });
  t.not(offeredFeatures & FEATURE.IOMMU_PLATFORM, 0n);
  const config = await frontend.request('GET_CONFIG', {
    offset: 0,
    flags: 0,
    bytes: new Uint8Array(12),
  });
  t.same([...config.bytes.subarray(0, 6)], [0x52, 0x54, 0, 0xaa, 0xbb, 0xcc]);
  t.equal(config.bytes[10], 1400 & 0xff);
  t.equal(config.bytes[11], 1400 >> 8);
  await t.rejects(frontend.request('SET_VRING_NUM', { index: 0, num: 256 }));
  await frontend.request('SET_VRING_NUM', { index: 0, num: 128 });
  frontend.close();
  await stop(t, cli);
});

t.test('offloads and queue pairs are those that were asked for', async (t) => {
  const { CSUM, HOST_TSO4, HOST_TSO6, STATUS, MQ } = NET_FEATURE;
  const offered = async (backend: string, ...options: readonly string[]) => {
    const path = freshPath();
    const cli = await startNic(t, path, `--backend=${backend}`, ...options);
    const frontend = VhostUserFrontend.connect(path);
    const { offeredFeatures, queues } = await frontend.handshake({ features: 0n });
    frontend.close();
    await stop(t, cli);
    return { offeredFeatures, queues };
  };
  const all = await offered('loopback:queues=3');
  t.equal(all.queues, 3);
  t.equal(all.offeredFeatures & (HOST_OFFLOADS | STATUS | MQ), HOST_OFFLOADS | STATUS | MQ);
  const some = await offered('null', '--offloads=-csum,-status');
  t.equal(some.offeredFeatures & (HOST_OFFLOADS | STATUS | MQ), 0n);
  const { RING_PACKED, IN_ORDER, RING_RESET } = FEATURE;
  const rings = RING_PACKED | IN_ORDER | RING_RESET;
  t.equal(all.offeredFeatures & rings, rings);
  const plain = await offered('null', '--rings=none,in-order');
  t.equal(plain.offeredFeatures & rings, IN_ORDER);
  const few = await offered('null', '--offloads=none,csum,host-tso4');
  t.equal(few.offeredFeatures & (CSUM | HOST_TSO4 | HOST_TSO6), CSUM | HOST_TSO4);
});

t.test('SIGUSR1 prints statistics on stderr', async (t) => {
  const cli = await startNic(t, freshPath());
  cli.child.kill('SIGUSR1');
  await cli.says(/statistics \{"queues":\[.*\]\}\n/);
  await stop(t, cli);
});

t.test('T17 readers of its output may go away', async (t) => {
  const path = freshPath();
  const cli = await startNic(t, path, '--stats');
  cli.child.stderr?.destroy();
  cli.child.stdout?.destroy();
  for (let round = 0; round < 3; round += 1) {
    const guest = await connectGuest(VhostUserFrontend.connect(path));
    await exchange(t, guest, 5);
    guest.close();
  }
  t.equal(cli.child.exitCode, null, 'it lives');
  await stop(t, cli);
  t.notOk(existsSync(path));
});

t.test('a hostile front-end cannot fill the log', async (t) => {
  const path = freshPath();
  const cli = await startNic(t, path);
  const frontend = VhostUserFrontend.connect(path);
  for (let count = 0; count < 200; count += 1) {
    await frontend.exchange({ request: 4711, expectReply: false });
  }
  await cli.says(/front-end 1.*4711/);
  frontend.close();
  await cli.says(/disconnected/);
  const lines = cli.stderr.split('\n').filter((line) => line.includes('4711'));
  t.ok(lines.length <= 3, `${lines.length} lines`);
  await stop(t, cli);
});

const asRoot = process.geteuid?.() === 0 && existsSync('/dev/net/tun');
const { RXVHOST_REQUIRE_PEERS } = process.env;
const noTap =
  asRoot || RXVHOST_REQUIRE_PEERS === '1' ? {} : { skip: 'needs root and /dev/net/tun' };

t.test('a tap that it made is gone afterwards', noTap, async (t) => {
  const ip = (...args: string[]) => spawnSync('ip', args, { encoding: 'utf8' });
  const has = (name: string) => ip('link', 'show', name).status === 0;
  const made = `cli${process.pid}`;
  const cli = await startNic(t, freshPath(), `--backend=tap:${made}`);
  t.ok(has(made));
  await stop(t, cli);
  t.notOk(has(made));
});
