/** `rxvhost vsock` as a user runs it, up to the guest; with a guest see test/qemu-vsock.test.ts. */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FEATURE } from '@rxvhost/core';
import { VhostUserFrontend } from '@rxvhost/vhost-user';
import { VsockFeature } from '@rxvhost/vsock';
import t, { type Test } from 'tap';
import { ENDS_WITHIN, type Outcome, runHere, startCli } from './run-cli.js';

const folder = mkdtempSync(join(tmpdir(), 'rxvhost-cli-vsock-'));
t.setTimeout(120_000);
t.teardown(() => rmSync(folder, { recursive: true, force: true }));

let counter = 0;
function freshPaths(): { socket: string; uds: string } {
  counter += 1;
  return { socket: join(folder, `${counter}.sock`), uds: join(folder, `${counter}.vsock`) };
}

const GUEST = ['--socket-path=/tmp/s', '--guest-cid=42', '--uds-path=/tmp/v'];
const BAD_COMMAND_LINES: readonly [string, readonly string[], RegExp][] = [
  ['no front-end', ['--guest-cid=42', '--uds-path=/tmp/v'], /--socket-path=PATH, or --fd=N/],
  ['no CID', ['--socket-path=/tmp/s', '--uds-path=/tmp/v'], /--guest-cid=CID/],
  ['no sockets', ['--socket-path=/tmp/s', '--guest-cid=42'], /--uds-path=PATH/],
  ['a reserved CID', ['--fd=3', '--guest-cid=2', '--uds-path=/tmp/v'], /--guest-cid=2 .*3 to/],
  ['any CID', ['--fd=3', '--guest-cid=4294967295', '--uds-path=/tmp/v'], /3 to 4294967294/],
  ['a CID that is none', ['--fd=3', '--guest-cid=vm', '--uds-path=/tmp/v'], /=vm is not/],
  [
    'a path without room for a port',
    ['--fd=3', '--guest-cid=42', `--uds-path=/tmp/${'x'.repeat(95)}`],
    /--uds-path is 100 bytes .*at most 96 here, since _PORT/,
  ],
  ['a backend', [...GUEST, '--backend=null'], /unknown option --backend/],
  ['a sibling without a path', [...GUEST, '--sibling=43'], /no socket-path: write --sibling=CID/],
  ['a sibling that is not understood', [...GUEST, '--sibling=43,path=x'], /'path=x'/],
  ['two guests with one CID', [...GUEST, '--sibling=42,socket-path=/tmp/t'], /42 is given twice/],
  ['two guests at one path', [...GUEST, '--sibling=43,socket-path=/tmp/s'], /\/tmp\/s is given/],
  ['a forward that is none', [...GUEST, '--forward=42'], /=42 is not understood.*42:80/],
  ['a forward to nobody', [...GUEST, '--forward=43:80'], /no guest here has CID 43/],
  ['a port that is none', [...GUEST, '--forward=42:4294967295'], /is not a port/],
  ['an unknown way to use a ring', [...GUEST, '--rings=split'], /'split' is not known/],
  ['a repeated option', [...GUEST, '--guest-cid=43'], /--guest-cid is given twice/],
];

t.test('D9 a wrong command line gets one line with the fix and exit code 2', async (t) => {
  for (const [name, args, pattern] of BAD_COMMAND_LINES) {
    await t.test(name, async (t) => {
      const { code, stdout, stderr } = await runHere(['vsock', ...args]);
      t.match(stderr, pattern);
      t.match(stderr, /^rxvhost: [^\n]+\n$/, 'one line');
      t.same([code, stdout], [2, '']);
    });
  }
});

t.test('D9 --print-capabilities and --help', async (t) => {
  const { stdout } = await runHere(['vsock', '--print-capabilities', '--fd=nonsense']);
  t.same(JSON.parse(stdout), { type: 'vsock', features: [] });
  const help = await runHere(['vsock', '--help']);
  t.match(help.stdout, /--guest-cid=CID[\s\S]*--uds-path=PATH[\s\S]*--forward=CID:PORT/);
  t.equal(help.code, 0);
  t.match((await runHere(['--help'])).stdout, /vsock +serve sockets/);
});

t.test('D9 D1 a front-end finds a vsock with the address that was asked for', async (t) => {
  const { socket, uds } = freshPaths();
  const cli = startCli([
    'vsock',
    `--socket-path=${socket}`,
    '--guest-cid=42',
    `--uds-path=${uds}`,
    '--rings=-packed',
    '--stats',
  ]);
  t.teardown(() => cli.child.kill('SIGKILL'));
  await cli.says(/listening on .*guest CID 42, host sockets at/);
  t.ok(existsSync(uds));
  const frontend = VhostUserFrontend.connect(socket);
  const { queues, offeredFeatures } = await frontend.handshake({ features: 0n });
  t.equal(queues, 3);
  t.ok((offeredFeatures & VsockFeature.SEQPACKET) !== 0n);
  const { RING_PACKED, IN_ORDER } = FEATURE;
  t.equal(
    offeredFeatures & (RING_PACKED | IN_ORDER),
    IN_ORDER,
    'without packed rings, as asked for',
  );
  const { bytes } = await frontend.request('GET_CONFIG', {
    offset: 0,
    flags: 0,
    bytes: new Uint8Array(8),
  });
  t.same(bytes, Uint8Array.of(42, 0, 0, 0, 0, 0, 0, 0));
  frontend.close();
  await cli.says(/front-end 1 disconnected/);
  const { code, stdout } = await stop(t, cli);
  t.equal(code, 0);
  t.match(JSON.parse(stdout), { connections: { open: 0 }, device: { event: {} }, host: {} });
  t.notOk(existsSync(socket) || existsSync(uds), 'no socket file is left');
});

t.test('D9 siblings are served by one process, each at a path of its own', async (t) => {
  const one = freshPaths();
  const two = freshPaths();
  const cli = startCli([
    'vsock',
    `--socket-path=${one.socket}`,
    '--guest-cid=42',
    `--uds-path=${one.uds}`,
    `--sibling=43,socket-path=${two.socket},uds-path=${two.uds}`,
    '--forward=43:80',
    '--forward=42:*',
    '--stats',
  ]);
  t.teardown(() => cli.child.kill('SIGKILL'));
  await cli.says(/guest 42: listening[\s\S]*guest 43: listening/);
  const { code, stdout } = await stop(t, cli);
  t.equal(code, 0);
  t.same(Object.keys(JSON.parse(stdout)), ['42', '43']);
  t.notOk([one.socket, one.uds, two.socket, two.uds].some((path) => existsSync(path)));
});

t.test(
  'T17 D9 paths that cannot be listened at get one line with the fix, exit code 1',
  async (t) => {
    const { socket } = freshPaths();
    const missing = join(folder, 'none', 'x');
    const args = ['vsock', `--socket-path=${socket}`, '--guest-cid=42', `--uds-path=${missing}`];
    const sockets = await runHere(args);
    t.match(sockets.stderr, /^rxvhost: there is no directory [^\n]+\n$/);
    t.equal(sockets.code, 1);
    t.notOk(existsSync(socket), 'nothing is left of what was begun');
    const { uds } = freshPaths();
    const second = ['vsock', `--socket-path=${missing}`, '--guest-cid=42', `--uds-path=${uds}`];
    const front: Outcome = await runHere(second);
    t.match(front.stderr, /^rxvhost: there is no directory [^\n]+\n$/);
    t.equal(front.code, 1);
    t.notOk(existsSync(uds));
  },
);

async function stop(t: Test, cli: ReturnType<typeof startCli>): Promise<Outcome> {
  const start = performance.now();
  cli.child.kill('SIGTERM');
  const outcome = await cli.ended;
  t.ok(performance.now() - start < ENDS_WITHIN, 'SIGTERM ends it at once');
  return outcome;
}
