import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const INSIDE = 'RXVHOST_TEST_INSIDE_NAMESPACE';

/**
 * Runs the calling program again in a network namespace of its own, which ends with it, and takes
 * over its exit status. The kernel's own frames (neighbour discovery) do not disturb there: IPv6 is
 * off. Needs root.
 *
 * @param url - `import.meta.url` of the program
 * @returns true in there: go on. False outside: do nothing more
 */
export function insidePrivateNetwork(url: string): boolean {
  if (process.env[INSIDE] === '1') {
    setIpv6(false);
    return true;
  }
  const mount = 'mount -t sysfs sysfs /sys && exec "$0" "$@"';
  const again = [process.execPath, ...process.execArgv, fileURLToPath(url)];
  const { status } = spawnSync('unshare', ['--net', '--mount', 'sh', '-c', mount, ...again], {
    stdio: 'inherit',
    env: { ...process.env, [INSIDE]: '1' },
  });
  process.exitCode = status ?? 1;
  return false;
}

/** A test that can be skipped, as `tap` has it. */
export interface SkippableTest {
  fail(message: string): unknown;
  pass(message: string, extra: { readonly skip: string }): unknown;
}

/**
 * As {@link insidePrivateNetwork}; where that cannot be had, or something else is missing, the tests
 * are skipped, or fail where `RXVHOST_REQUIRE_PEERS=1` says that nothing may be missing.
 *
 * @param what - what is not tested then
 * @param missing - why these tests cannot run; `undefined` when they can
 */
export function testInPrivateNetwork(
  t: SkippableTest,
  url: string,
  what = 'interfaces',
  missing?: string,
): boolean {
  const reason = missingForPrivateNetwork() ?? missing;
  if (reason === undefined) return insidePrivateNetwork(url);
  if (process.env['RXVHOST_REQUIRE_PEERS'] === '1') t.fail(reason);
  else t.pass(what, { skip: reason });
  return false;
}

/** Switches IPv6 on or off on every interface that there is and will be. */
export function setIpv6(on: boolean): void {
  for (const scope of ['all', 'default']) {
    const path = `/proc/sys/net/ipv6/conf/${scope}/disable_ipv6`;
    if (existsSync(path)) writeFileSync(path, on ? '0' : '1');
  }
}

/** What a test in a private network runs; `tc` comes with `ip`. */
const PROGRAMS = ['unshare', 'ip', 'ping', 'ethtool'];

/** Why there can be no private network with interfaces to try here, or `undefined` when there can. */
export function missingForPrivateNetwork(): string | undefined {
  if (process.geteuid?.() !== 0) return 'needs root';
  const folders = (process.env['PATH'] ?? '').split(delimiter);
  const absent = PROGRAMS.filter(
    (program) => !folders.some((folder) => existsSync(join(folder, program))),
  );
  return absent.length === 0 ? undefined : `needs ${absent.join(', ')} (npm run setup:peers)`;
}

/** Runs `ip` with arguments in one string; returns its output. */
export function ip(command: string): string {
  return execFileSync('ip', command.split(' '), { encoding: 'utf8' });
}

/** The kernel drops what is sent before it has heard, some time later, that the other end is up. */
export function waitUntilUp(ifname: string): void {
  const deadline = performance.now() + 5000;
  while (!/qdisc (?!noop ).* state UP/.test(ip(`link show dev ${ifname}`))) {
    if (performance.now() > deadline) throw new Error(`${ifname} does not come up`);
  }
}
