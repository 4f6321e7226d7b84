import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { needsProgram, needsRoot, peerTest } from '@rxvhost/test/support/requirements.js';
import t from 'tap';

t.setTimeout(120_000);
const requirements = [needsRoot, needsProgram('dpdk-testpmd')];

peerTest(t, 'testpmd sends, and gets back what it sent', requirements, async (t) => {
  const { status, stdout, stderr } = spawnSync('npm', ['start', '--silent'], {
    cwd: fileURLToPath(new URL('../../', import.meta.url)),
    encoding: 'utf8',
  });
  t.equal(stderr, '');
  const counts = (pattern: RegExp) => Number(pattern.exec(stdout)?.[1]);
  const sent = counts(/testpmd, txonly: sent (\d+) frames/);
  t.ok(sent > 1000, `${sent} frames sent`);
  t.equal(counts(/rxvhost, null: transmit queue (\d+) frames/), sent);
  const returned = counts(/testpmd, io: .*received (\d+) frames/);
  t.ok(returned > 1000, `${returned} frames returned`);
  t.ok(counts(/rxvhost, loopback: receive queue (\d+) frames/) >= returned);
  t.equal(status, 0);
});
