import { execFileSync } from 'node:child_process';
import t from 'tap';

const SCRIPT = `
  const natives = () => process.report.getReport().sharedObjects.filter((name) => name.endsWith('.node'));
  const before = natives();
  const core = await import(process.argv[1]);
  const nic = new core.VhostNet({ backends: core.loopback() });
  await nic.close();
  console.log(JSON.stringify({ before, after: natives() }));
`;

t.test('a process that only imports the core loads no native code', async (t) => {
  const core = new URL('../src/index.js', import.meta.url).href;
  const output = execFileSync(
    process.execPath,
    ['--input-type=module', '--eval', SCRIPT, core],
    // Nothing of the test runner's own.
    { encoding: 'utf8', env: { PATH: process.env['PATH'] } },
  );
  t.same(JSON.parse(output), { before: [], after: [] });
});
