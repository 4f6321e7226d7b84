/** The summary that decides whether continuous integration passes. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { repositoryRoot } from './support/requirements.js';

const folder = mkdtempSync(join(tmpdir(), 'rxvhost-tools-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));

function summarize(streams: readonly { tap: string; status: number }[]) {
  const args = streams.flatMap(({ tap, status }, index) => {
    const file = join(folder, `${index}.tap`);
    writeFileSync(file, tap);
    return [file, String(status)];
  });
  const tool = join(repositoryRoot, 'tools', 'tap-summary.mjs');
  const { stdout, status } = spawnSync(process.execPath, [tool, ...args], { encoding: 'utf8' });
  const lines = stdout.trimEnd().split('\n');
  return { lines, last: lines.at(-1), status };
}

const passing = `TAP version 14
# Subtest: a.test.js
    ok 1 - one
    ok 2 - two
    1..2
ok 1 - a.test.js # time=5ms
1..1
`;

t.test('streams that pass are added up', async (t) => {
  const summary = summarize([
    { tap: passing, status: 0 },
    { tap: passing, status: 0 },
  ]);
  t.same(summary.lines, ['4 passed, 0 failed, 0 skipped']);
  t.equal(summary.status, 0);
});

t.test('a skip is listed with its reason, and how to run it, before the counts', async (t) => {
  const tap = passing.replace('ok 2 - two', 'ok 2 - two # SKIP needs root');
  const { lines, status } = summarize([{ tap, status: 0 }]);
  t.match(lines, [
    'skipped: a.test.js > two (needs root)',
    /npm run setup:peers/,
    '1 passed, 0 failed, 1 skipped',
  ]);
  t.equal(status, 0);
});

t.test('what must count as a failure', async (t) => {
  const broken: Record<string, { tap: string; status: number; last?: string }> = {
    'a failed assertion': {
      tap: passing.replace('    ok 2', '    not ok 2').replace('\nok 1 - a', '\nnot ok 1 - a'),
      status: 1,
      last: '1 passed, 1 failed, 0 skipped',
    },
    'a file killed after its assertions passed': {
      tap: passing.replace('\nok 1 - a.test.js', '\nnot ok 1 - a.test.js'),
      status: 1,
    },
    'a todo': {
      tap: passing.replace('ok 2 - two', 'ok 2 - two # Todo later'),
      status: 0,
      last: '1 passed, 1 failed, 0 skipped',
    },
    'a stream that was cut short': { tap: passing.slice(0, -5), status: 0 },
    'an empty stream': { tap: '', status: 0, last: '0 passed, 1 failed, 0 skipped' },
    'a bad exit status alone': { tap: passing, status: 1 },
    'a bail out': { tap: passing.replace('1..1\n', 'Bail out! enough\n'), status: 0 },
  };
  for (const [name, { tap, status, last = '2 passed, 1 failed, 0 skipped' }] of Object.entries(
    broken,
  )) {
    const summary = summarize([{ tap, status }]);
    t.equal(summary.last, last, name);
    t.equal(summary.status, 1, `${name}: exit status`);
  }
  const second = summarize([
    { tap: passing, status: 0 },
    { tap: passing, status: 1 },
  ]);
  t.equal(second.last, '4 passed, 1 failed, 0 skipped', 'a bad status of the second stream');
});
