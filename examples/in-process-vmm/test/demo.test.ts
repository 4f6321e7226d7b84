import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import type { Summary } from '../src/summary.js';

const MAIN = fileURLToPath(new URL('../src/main.js', import.meta.url));
t.setTimeout(90_000);

/** A directory of the test's own for the demo's sockets, so that what it leaves behind shows. */
function ownTemporaryDirectory(test: Test): string {
  const directory = mkdtempSync(join(tmpdir(), 'rxvhost-demo-test-'));
  test.teardown(() => rmSync(directory, { recursive: true }));
  return directory;
}

/** Runs the demo to its end; `onText` hears its output so far and may end it. */
async function demo(
  directory: string,
  args: readonly string[],
  onText: (text: string, kill: (signal: NodeJS.Signals) => void) => void = () => {},
) {
  const child = spawn(process.execPath, [MAIN, ...args], {
    env: { ...process.env, TMPDIR: directory },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
    onText(stdout, (signal) => child.kill(signal));
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  const code = await new Promise<number | null>((resolve) => child.on('close', resolve));
  return { code, stdout, stderr };
}

t.test('two guests exchange ARP, pings and frames, and all of it arrives', async (t) => {
  const directory = ownTemporaryDirectory(t);
  const { code, stdout, stderr } = await demo(directory, ['--frames=2000']);
  t.equal(code, 0);
  t.equal(stderr, '');
  t.match(stdout, /^ARP {9}A asks for 10\.0\.0\.2: it is at 02:00:00:00:00:0b/m);
  t.match(stdout, /^ping {8}A → B: 5 of 5 answered/m);
  t.match(stdout, /^ping {8}B → A: 5 of 5 answered/m);
  t.match(stdout, /^frames {6}A → B 2,000 \(100 %\) .*B → A 2,000 \(100 %\)/m, 'live rates');
  t.match(stdout, /^A → B +2,000 +2,000 +[\d,]+ +[\d,]+ +[\d,]+ +0 +0 +0$/m);
  t.match(stdout, /^total {7}4,000 frames, [\d,]+ bytes in \d+\.\d\d s/m);
  t.match(stdout, /^drops {7}none$/m);
  t.match(stdout, /^round trip {2}1,000 pings, p50 \d+ µs, p99 [\d,]+ µs$/m);
  t.match(stdout, /^every frame arrived intact and in order$/m);
  t.strictSame(readdirSync(directory), [], 'nothing is left behind');
});

t.test('--json prints the summary alone', async (t) => {
  const { code, stdout } = await demo(ownTemporaryDirectory(t), ['--json', '--frames', '700']);
  t.equal(code, 0);
  const summary = JSON.parse(stdout) as Summary;
  t.match(summary, { ok: true, frames: 1400, drops: {}, problems: [] });
  // 700 frames are a hundred of each length.
  const bytes = 100 * (64 + 128 + 256 + 512 + 1024 + 1280 + 1514);
  for (const direction of summary.directions)
    t.match(direction, { sent: 700, received: 700, bytes });
});

for (const [signal, expected] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const) {
  t.test(`${signal} in the middle of the traffic ends it cleanly`, async (t) => {
    const directory = ownTemporaryDirectory(t);
    let killed = false;
    const { code, stderr } = await demo(directory, ['--frames=100000000'], (text, kill) => {
      if (killed || !/\(0 %\) [1-9]/.test(text)) return;
      killed = true;
      kill(signal);
    });
    t.ok(killed, 'there was traffic');
    t.equal(code, expected);
    t.match(stderr, /called off; everything is cleaned up/);
    t.strictSame(readdirSync(directory), [], 'nothing is left behind');
  });
}

t.test('a command line that cannot be meant is explained', async (t) => {
  const directory = ownTemporaryDirectory(t);
  for (const args of [['--frames=0'], ['--frames=many'], ['--speed'], ['now']]) {
    const { code, stdout, stderr } = await demo(directory, args);
    t.equal(code, 2, args.join(' '));
    t.equal(stdout, '');
    t.match(stderr, /^[^\n]+\n$/, 'one line');
  }
  const { code, stdout } = await demo(directory, ['--help']);
  t.equal(code, 0);
  t.match(stdout, /^usage: npm start/);
});
