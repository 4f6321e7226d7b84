import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import t from 'tap';

const PAGE = 4096;
const fixture = fileURLToPath(new URL('fixtures/truncated-file.js', import.meta.url));

/** Runs one case in a process of its own: a guard that fails would take this one along. */
function run(name: string): { readonly answer: unknown; readonly end: unknown } {
  const { stdout, stderr, status, signal } = spawnSync(process.execPath, [fixture, name], {
    encoding: 'utf8',
    // Nothing of the test runner's own.
    env: { PATH: process.env['PATH'] },
  });
  if (stderr !== '') console.error(stderr);
  return { answer: stdout === '' ? undefined : JSON.parse(stdout), end: signal ?? status };
}

t.test('T20 script that touches what a file has lost reads zeroes, and is told', async (t) => {
  t.same(run('script'), {
    answer: { read: 3 * PAGE * 7, written: 16 * PAGE * 9, breaks: [1, 0], other: 16 * PAGE * 7 },
    end: 0,
  });
});

t.test('T20 so does code that the engine has optimized, and Atomics', async (t) => {
  t.same(run('compiled'), { answer: { left: PAGE / 4, atomic: 3, breaks: 1 }, end: 0 });
});

t.test('T20 so does native code that copies frames', async (t) => {
  t.same(run('native'), { answer: { copied: 1, bytes: PAGE * 7, breaks: 1 }, end: 0 });
});

t.test('T20 a system call answers EFAULT, and the mapping is found broken', async (t) => {
  const sent = { sent: 1, result: -14, breaks: 1 };
  const received = { result: 'EFAULT', frames: 0, breaks: 1 };
  t.same(run('systemCalls'), {
    answer: [received, received, received, received, sent, sent],
    end: 0,
  });
});

t.test('T20 a late subscriber is told at once; a release ends the watch and its fd', async (t) => {
  t.same(run('lateAndReleased'), {
    answer: { told: 1, completed: true, mapped: false, fds: 0 },
    end: 0,
  });
});

t.test('T20 a thousand broken mappings come and go, on several threads at once', async (t) => {
  const broke = { breaks: 500 };
  t.match(run('workers'), {
    answer: { here: broke, there: [broke, broke, broke], after: { breaks: [1, 0] } },
    end: 0,
  });
});

t.test('T20 a SIGBUS elsewhere ends the process, as without the guard', async (t) => {
  t.same(run('foreign'), { answer: undefined, end: 'SIGBUS' });
  t.same(run('sent'), { answer: undefined, end: 'SIGBUS' });
});

t.test('T20 whoever listened to the signal before still hears it when it is sent', async (t) => {
  t.same(run('listenedTo'), { answer: { heard: 1, read: 0, breaks: 1 }, end: 0 });
});
