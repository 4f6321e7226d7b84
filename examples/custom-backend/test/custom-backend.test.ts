import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import t from 'tap';

const example = new URL('../../', import.meta.url);
const read = (path: string) => readFileSync(new URL(path, example), 'utf8');

t.test('two guests ping each other through the tunnel', async (t) => {
  const ports = ['24801', '24802'];
  const { status, stdout, stderr } = spawnSync('npm', ['start', '--silent', '--', ...ports], {
    cwd: fileURLToPath(example),
    encoding: 'utf8',
  });
  t.equal(stderr, '');
  t.match(stdout, /^10\.0\.0\.1 -- udp 24801 -- udp 24802 -- 10\.0\.0\.2\n/);
  t.match(stdout, /\n20 of 20 pings came back, \d+\.\d\d ms on average\n/);
  t.match(stdout, /\nthe first NIC sent 21 frames and received 21\n$/);
  t.equal(status, 0);
});

t.test('the code blocks of docs/writing-a-backend.md are the example’s files', async (t) => {
  const document = read('../../docs/writing-a-backend.md');
  const blocks = [...document.matchAll(/```ts\n([\s\S]*?)```/g)].map(([, code]) => code);
  const files = ['src/udp-tunnel.ts', 'src/tunnel-nic.ts', 'test/conformance.test.ts'];
  t.equal(blocks.join(''), files.map(read).join(''));
});

t.test('the backend has under 60 lines', async (t) => {
  t.ok(read('src/udp-tunnel.ts').trimEnd().split('\n').length < 60);
});
