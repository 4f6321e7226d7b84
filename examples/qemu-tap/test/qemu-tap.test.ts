import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import {
  needsGuestImage,
  needsProgram,
  needsRoot,
  needsTun,
  peerTest,
} from '@rxvhost/test/support/requirements.js';
import t from 'tap';

t.setTimeout(120_000);
const requirements = [needsRoot, needsTun, needsProgram('qemu-system-x86_64'), needsGuestImage];

peerTest(t, 'the guest pings the host through the tap', requirements, async (t) => {
  const { status, stdout, stderr } = spawnSync('npm', ['start', '--silent'], {
    cwd: fileURLToPath(new URL('../../', import.meta.url)),
    encoding: 'utf8',
  });
  t.equal(stderr, '');
  t.match(stdout, /^host# rxvhost net --socket-path=.* --backend=tap:ifname=tap0\n/);
  t.match(stdout, /\nhost# qemu-system-x86_64 .*vhost-user/);
  t.match(stdout, /\n5 packets transmitted, 5 packets received, 0% packet loss\n/);
  t.match(
    stdout,
    /\nqueue 1 \(transmit\): \d+ frames, \d+ bytes\nrxvhost ended \d+ ms after SIGTERM\n$/,
  );
  t.equal(status, 0);
});
