import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import t from 'tap';

const fixture = fileURLToPath(new URL('fixtures/two-machines.js', import.meta.url));

/** Runs two machines in a process of their own, which a SIGBUS would end. */
function run(what: string, how: string) {
  const { stdout, stderr, status, signal } = spawnSync(process.execPath, [fixture, what, how], {
    encoding: 'utf8',
    env: { PATH: process.env['PATH'] },
  });
  if (stderr !== '') console.error(stderr);
  return { answer: stdout === '' ? undefined : JSON.parse(stdout), end: signal ?? status };
}

for (const [what, how, toucher] of [
  ['rings', 'script', 'the ring code'],
  ['buffers', 'script', 'a copy in TypeScript'],
  ['buffers', 'native', 'a copy in native code'],
  ['buffers', 'system', 'a system call'],
] as const) {
  t.test(`T20 truncated ${what}, met by ${toucher}, stop that device only`, async (t) => {
    t.match(run(what, how), {
      answer: {
        before: [10, 10],
        faults: ['0 EFAULT', '1 EFAULT'],
        signalled: [true, true],
        states: ['owned', 'running'],
        again: /the file behind the memory at guest address 0x100000 was truncated \(EFAULT\)/,
        healthy: { faults: [], echoed: 50 },
        rebooted: how === 'system' ? 'running' : 10,
      },
      end: 0,
    });
  });
}
