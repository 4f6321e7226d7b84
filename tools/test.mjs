// `npm test [name ...]`: sets up, then runs every test file (or those whose path contains one of the
// names), first the packages' own, then those across packages, which start other programs and so
// run one at a time. Prints a line a file, details of what failed, coverage, and a summary.
import { createWriteStream, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join, relative } from 'node:path';
import { main, root, run } from './lib/run.mjs';
import { filesBelow } from './lib/stamp.mjs';
import { setup } from './setup.mjs';

const folder = join(root, '.tap');
const coverage = join(root, 'coverage', 'tmp');
const wanted = process.argv.slice(2);

const suites = [
  { name: 'packages', folders: ['packages'], jobs: 2 },
  { name: 'across-packages', folders: ['test', 'examples', 'bench'], jobs: 1 },
];

await main(async () => {
  await setup();
  mkdirSync(folder, { recursive: true });
  rmSync(coverage, { recursive: true, force: true });
  const streams = [];
  for (const suite of suites) {
    const files = testFiles(suite.folders);
    if (files.length > 0) streams.push(await runSuite(suite, files));
  }
  if (streams.length === 0) {
    console.log(wanted.length > 0 ? `no test file matches ${wanted.join(' ')}` : 'no test files');
    console.log('0 passed, 1 failed, 0 skipped');
    return 1;
  }
  if (wanted.length === 0)
    await run('c8', ['report', '--reporter=lcov', '--reporter=text-summary']);
  const { summarize, summaryLines } = await import('./tap-summary.mjs');
  const summary = await summarize(streams);
  for (const line of summaryLines(summary)) console.log(line);
  return summary.failures.length > 0 ? 1 : 0;
});

function testFiles(folders) {
  return folders
    .flatMap((name) => filesBelow(join(root, name)))
    .map((file) => relative(root, file))
    .filter((file) => /(^|\/)dist\/.*\.test\.js$/.test(file))
    .filter((file) => wanted.length === 0 || wanted.some((part) => file.includes(part)))
    .sort();
}

/** Runs tap over the files of a suite; the stream goes to a file, a line a file to the terminal. */
async function runSuite({ name, jobs }, files) {
  const file = join(folder, `${name}.tap`);
  const errors = join(folder, `${name}.stderr`);
  const stream = createWriteStream(file);
  const status = await run(
    '/bin/sh',
    ['-c', 'exec tap run --reporter=tap "$@" 2>"$0"', errors, `--jobs=${jobs}`, ...files],
    {
      env: wanted.length === 0 ? { NODE_V8_COVERAGE: coverage } : {},
      onLine: (line) => {
        stream.write(`${line}\n`);
        reportFile(line);
      },
    },
  );
  await new Promise((resolve) => stream.end(resolve));
  if (status !== 0) showErrors(errors);
  return { file, status };
}

/** Test points at the left margin are whole files. */
function reportFile(line) {
  const match = /^(ok|not ok) \d+ - (\S+)(?: # (.*))?/.exec(line);
  if (!match) return;
  const [, result, file, comment = ''] = match;
  const details = comment.replace(/^time=/, '').replace(/ \{$/, '');
  console.log(`${result === 'ok' ? 'ok    ' : 'FAILED'} ${file} ${details}`);
}

/** What the tests wrote to stderr, which TAP does not hold. */
function showErrors(file) {
  const tail = readFileSync(file, 'utf8').trimEnd().split('\n').slice(-40);
  if (tail.join('') !== '') console.log(`last lines of stderr:\n${tail.join('\n')}`);
}
