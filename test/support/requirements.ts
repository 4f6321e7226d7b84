/**
 * What a test needs from the machine. Where something is missing the test is skipped and says why;
 * with `RXVHOST_REQUIRE_PEERS=1`, as in continuous integration, it fails instead, so that nothing
 * goes untested unnoticed.
 */
import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Test } from 'tap';

/** Why the machine cannot run a test, or undefined if it can. */
export type Requirement = () => string | undefined;

/** The root of the repository, seen from the compiled tests. */
export const repositoryRoot = fileURLToPath(new URL('../../../', import.meta.url));

/** Where `npm run setup:peers` puts the Linux guest. */
export const guestImage = join(repositoryRoot, '.cache', 'guest');

const { PATH = '', RXVHOST_REQUIRE_PEERS } = process.env;
const programFolders = [...PATH.split(delimiter), '/usr/sbin', '/sbin'];

export const needsRoot: Requirement = () => (process.geteuid?.() === 0 ? undefined : 'needs root');

export function needsProgram(program: string): Requirement {
  return () =>
    programFolders.some((folder) => existsSync(join(folder, program)))
      ? undefined
      : `needs ${program}`;
}

export const needsTun: Requirement = () =>
  existsSync('/dev/net/tun') ? undefined : 'needs /dev/net/tun';

export const needsGuestImage: Requirement = () =>
  existsSync(join(guestImage, 'stamp')) ? undefined : 'needs the Linux guest';

/** A test that runs where all its requirements are met; see the top of this file for elsewhere. */
export function peerTest(
  t: Test,
  name: string,
  requirements: readonly Requirement[],
  body: (t: Test) => Promise<void>,
): void {
  const missing = requirements.map((unmet) => unmet()).filter((reason) => reason !== undefined);
  const reason = missing.join(', ');
  if (reason === '') void t.test(name, body);
  else if (RXVHOST_REQUIRE_PEERS !== '1') void t.test(name, { skip: reason }, body);
  else void t.test(name, async (t) => void t.fail(reason));
}
