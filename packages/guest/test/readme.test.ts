import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import t from 'tap';

const run = promisify(execFile);
const PACKAGE = new URL('../../', import.meta.url);
const blocks = readFileSync(new URL('README.md', PACKAGE), 'utf8').matchAll(/```ts\n(.*?)```/gs);
const [guest, hostile] = [...blocks].map(([, code]) => code);

for (const [name, code, output] of [
  ['readme-guest', guest, /^60 bytes came back\n$/],
  ['readme-hostile', hostile, /^survived, having reported [1-9]\d* faults\n$/],
] as const) {
  t.test(`the README's code is ${name}.ts, and it runs`, async (t) => {
    t.equal(code, readFileSync(new URL(`test/fixtures/${name}.ts`, PACKAGE), 'utf8'));
    const program = fileURLToPath(new URL(`dist/test/fixtures/${name}.js`, PACKAGE));
    const { stdout, stderr } = await run(process.execPath, [program]);
    t.match(stdout, output);
    t.equal(stderr, '');
  });
}
