import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import t from 'tap';

const example = new URL('../../', import.meta.url);
const start = (...args: string[]) =>
  spawnSync('npm', ['start', '--silent', ...args], {
    cwd: fileURLToPath(example),
    encoding: 'utf8',
  });

t.test('the README shows what it prints', async (t) => {
  const readme = readFileSync(new URL('README.md', example), 'utf8');
  const expected = /Expected:\n\n```\n([\s\S]*?)```/.exec(readme)?.[1];
  const { status, stdout, stderr } = start();
  t.equal(stderr, '');
  t.equal(stdout, expected);
  t.equal(status, 0);
});

t.test('10,000 requests, 50 at once, are all answered', async (t) => {
  const { status, stdout } = start('--', '10000');
  t.match(stdout, /10000 of 10000 requests answered, over 50 connections/);
  t.equal(status, 0);
});
