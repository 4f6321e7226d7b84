import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { loadNative } from '@rxvhost/sys';
import t from 'tap';

const INSIDE = 'RXVHOST_TEST_INSIDE_NAMESPACE';
const { RXVHOST_REQUIRE_PEERS } = process.env;

/** Why taps cannot be tried here, or `undefined` when they can. */
function missing(): string | undefined {
  if (process.geteuid?.() !== 0) return 'needs root';
  return existsSync('/dev/net/tun') ? undefined : 'needs /dev/net/tun';
}

/**
 * Runs the calling test file again in a network namespace of its own, which ends with it, and passes
 * the outcome on. True in there: go on with the tests. False outside: do nothing more.
 */
export function insideNamespace(url: string): boolean {
  if (process.env[INSIDE] === '1') {
    // The kernel's own frames (neighbour discovery) would mix with the test's.
    for (const scope of ['all', 'default']) {
      const path = `/proc/sys/net/ipv6/conf/${scope}/disable_ipv6`;
      if (existsSync(path)) writeFileSync(path, '1');
    }
    return true;
  }
  const reason = missing();
  if (reason !== undefined) {
    if (RXVHOST_REQUIRE_PEERS === '1') t.fail(reason);
    else t.pass('taps', { skip: reason });
    return false;
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

/** Runs `ip` with arguments in one string. */
export function ip(command: string): string {
  return execFileSync('ip', command.split(' '), { encoding: 'utf8' });
}

/** Opens a tun device with just these flags. */
export function openDevice(name: string, flags: number): number {
  return loadNative().openTun('/dev/net/tun', name, flags, []);
}
