/** Several cards in one `rxvhost net`, in the main thread and in worker threads. */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { NetStatistics } from '@rxvhost/core';
import { closeFd, socketPair } from '@rxvhost/sys';
import { DeviceWorkers, VhostUserFrontend } from '@rxvhost/vhost-user';
import t, { type Test } from 'tap';
import { type ServedDevice, serveDevices } from '../src/front-end/serve-devices.js';
import { EnvironmentError } from '../src/usage-error.js';
import type { MortalOptions } from './dying-worker.js';
import { connectGuest, exchange } from './guest.js';
import { type RunningCli, runCli, startCli } from './run-cli.js';

// Workers take long to start on a busy machine.
t.setTimeout(300_000);
// Coverage of workers takes more time and memory than the workers themselves.
delete process.env['NODE_V8_COVERAGE'];

const folder = mkdtempSync(join(tmpdir(), 'rxvhost-cli-workers-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));

let counter = 0;
function freshPath(): string {
  counter += 1;
  return join(folder, `${counter}.sock`);
}

async function start(t: Test, paths: readonly string[], args: readonly string[]) {
  const cli = startCli(['net', ...args]);
  t.teardown(() => cli.child.kill('SIGKILL'));
  for (const path of paths) await cli.says(new RegExp(`${path}: listening on ${path}`));
  return cli;
}

async function stop(cli: RunningCli) {
  cli.child.kill('SIGTERM');
  return cli.ended;
}

async function macOf(path: string): Promise<number[]> {
  const frontend = VhostUserFrontend.connect(path);
  await frontend.handshake({ features: 0n });
  const asked = { offset: 0, flags: 0, bytes: new Uint8Array(6) };
  const { bytes } = await frontend.request('GET_CONFIG', asked);
  frontend.close();
  return [...bytes];
}

for (const [where, workers] of [
  ['in the main thread', []],
  ['in a worker that they share', ['--workers=1']],
  ['in two workers', ['--workers=2']],
] as const) {
  t.test(`T17 several cards are served by one command ${where}`, async (t) => {
    const [one, two, three] = [freshPath(), freshPath(), freshPath()] as const;
    const cli = await start(
      t,
      [one, two, three],
      [
        ...['--backend=loopback', '--stats', ...workers],
        ...[`--socket-path=${one}`, '--mac=52:54:00:00:00:01'],
        ...[`--socket-path=${two}`, '--mac=52:54:00:00:00:02', '--queue-size=64'],
        ...[`--socket-path=${three}`, '--backend=null'],
      ],
    );
    t.same(await macOf(one), [0x52, 0x54, 0, 0, 0, 1]);
    t.same(await macOf(two), [0x52, 0x54, 0, 0, 0, 2]);
    const small = VhostUserFrontend.connect(two);
    await small.handshake({ features: 0n });
    await t.rejects(small.request('SET_VRING_NUM', { index: 0, num: 128 }), 'its own queue size');
    small.close();
    const guest = await connectGuest(VhostUserFrontend.connect(one));
    await cli.says(new RegExp(`${one}: front-end 2 connected \\(pid ${process.pid}\\)`));
    await exchange(t, guest, 200);
    guest.close();
    await cli.says(new RegExp(`${one}: front-end 2 disconnected`));
    await cli.says(new RegExp(`${two}: front-end 2 disconnected`));
    cli.child.kill('SIGUSR1');
    await cli.says(/statistics \{"[^\n]*\}\n/);
    const { code, stdout } = await stop(cli);
    t.equal(code, 0);
    const statistics = JSON.parse(stdout) as Record<string, NetStatistics>;
    t.same(Object.keys(statistics), [one, two, three]);
    t.equal(statistics[one]?.queues[1]?.frames, 200);
    t.equal(statistics[three]?.queues[1]?.frames, 0, 'each has its own');
    t.notOk(
      [one, two, three].some((path) => existsSync(path)),
      'no socket file is left',
    );
  });
}

t.test('one card in a worker is told of as one in the main thread', async (t) => {
  const path = freshPath();
  const args = [`--socket-path=${path}`, '--backend=loopback', '--workers=1', '--once', '--stats'];
  const cli = startCli(['net', ...args]);
  t.teardown(() => cli.child.kill('SIGKILL'));
  await cli.says(new RegExp(`^rxvhost: listening on ${path}, backend loopback\n`));
  const guest = await connectGuest(VhostUserFrontend.connect(path));
  await exchange(t, guest, 20);
  guest.close();
  const { code, stdout } = await cli.ended;
  t.equal(code, 0);
  t.equal((JSON.parse(stdout) as NetStatistics).queues[1]?.frames, 20);
});

t.test('--fd serves inherited sockets in workers, and ends with the last one', async (t) => {
  const pairs = [socketPair(), socketPair()] as const;
  const [one, two] = pairs;
  const cli = startCli(['net', '--workers=2', '--backend=loopback', '--fd=3', '--fd=4'], {
    stdio: ['ignore', 'pipe', 'pipe', one[1], two[1]],
  });
  t.teardown(() => cli.child.kill('SIGKILL'));
  for (const [, theirs] of pairs) closeFd(theirs);
  const guests = [
    await connectGuest(new VhostUserFrontend(one[0])),
    await connectGuest(new VhostUserFrontend(two[0])),
  ];
  for (const [index, guest] of guests.entries()) {
    await cli.says(new RegExp(`fd ${3 + index}: serving fd ${3 + index}`));
    await exchange(t, guest, 10);
    guest.close();
    await cli.says(new RegExp(`fd ${3 + index}: front-end 1 disconnected`));
  }
  t.equal((await cli.ended).code, 0);
});

t.test('T17 what the machine refuses a worker gets the line that it gets without', async (t) => {
  const refused = async (args: readonly string[]) => {
    const good = freshPath();
    const cards = [`--socket-path=${good}`, '--backend=null', ...args];
    const outcome = await runCli(['net', ...cards, '--workers=2']);
    t.equal(outcome.code, 1);
    t.equal(outcome.stdout, '');
    t.notOk(existsSync(good), 'nothing is left of the card that was there');
    const lines = outcome.stderr.split('\n').filter((line) => !/listening on|^$/.test(line));
    t.equal(lines.length, 1, outcome.stderr);
    return lines[0] ?? '';
  };
  const path = freshPath();
  t.match(
    await refused([`--socket-path=${path}`, '--backend=fd:77']),
    /^rxvhost: backend fd:77 cannot be used: .*EBADF.*leave a tap open as descriptor 77$/,
  );
  t.notOk(existsSync(path));
  writeFileSync(path, 'precious');
  t.match(
    await refused([`--socket-path=${path}`, '--backend=null']),
    /^rxvhost: .* exists and is no socket: remove it, or choose another path$/,
  );
  t.match(
    await refused([`--socket-path=${join(folder, 'none', 'x')}`, '--backend=null']),
    /^rxvhost: there is no directory .*none: make it with mkdir -p, or choose another path$/,
  );
});

t.test('a worker that ends is told of, others go on, and the exit code shows it', async (t) => {
  const pool = new DeviceWorkers<MortalOptions>({
    module: new URL('./dying-worker.js', import.meta.url),
    execArgv: [],
  });
  t.teardown(() => pool.close());
  const card = (label: string, dies: boolean): ServedDevice & { path: string } => {
    const path = freshPath();
    return {
      path,
      endpoint: { kind: 'listen', path },
      what: 'backend null',
      label,
      close: async () => {},
      async serve(where) {
        const server = await pool.serve({ dies }, where);
        return { server, errors$: server.device.errors$ };
      },
    };
  };
  const cards = [card('mortal', true), card('other', false)] as const;
  const lines: string[] = [];
  let heard = () => {};
  const terminal = {
    out: () => {},
    say(line: string) {
      lines.push(line);
      heard();
    },
  };
  const says = async (line: string) => {
    while (!lines.includes(line)) {
      await new Promise<void>((resolve) => {
        heard = resolve;
      });
    }
  };
  const options = { once: true, stats: false, statistics: () => ({}) };
  const ended = serveDevices(cards, options, terminal).then(
    () => undefined,
    (error: unknown) => error,
  );
  for (const { label, path } of cards) {
    await says(`${label}: listening on ${path}, backend null`);
  }
  const doomed = VhostUserFrontend.connect(cards[0].path);
  await doomed.handshake({ features: 0n }).catch(() => {});
  await says('mortal: a worker exited with code 3 (EIO)');
  doomed.close();
  const other = VhostUserFrontend.connect(cards[1].path);
  t.ok((await other.handshake({ features: 0n })).offeredFeatures, 'the other one is served');
  other.close();
  const error = await ended;
  t.ok(error instanceof EnvironmentError);
  t.match(error, { message: '1 of 2 devices ended with their worker' });
  t.notOk(cards.some(({ path }) => existsSync(path)));
});
