import { existsSync } from 'node:fs';
import { loadNative } from '@rxvhost/sys';
import { insidePrivateNetwork, missingForPrivateNetwork } from '@rxvhost/sys/testing';
import t from 'tap';

export { ip } from '@rxvhost/sys/testing';

const { RXVHOST_REQUIRE_PEERS } = process.env;

/** Why taps cannot be tried here, or `undefined` when they can. */
function missing(): string | undefined {
  const reason = missingForPrivateNetwork();
  return reason ?? (existsSync('/dev/net/tun') ? undefined : 'needs /dev/net/tun');
}

/**
 * Runs the calling test file again in a network namespace of its own, which ends with it, and passes
 * the outcome on. True in there: go on with the tests. False outside: do nothing more.
 */
export function insideNamespace(url: string): boolean {
  const reason = missing();
  if (reason === undefined) return insidePrivateNetwork(url);
  if (RXVHOST_REQUIRE_PEERS === '1') t.fail(reason);
  else t.pass('taps', { skip: reason });
  return false;
}

/** Opens a tun device with just these flags. */
export function openDevice(name: string, flags: number): number {
  return loadNative().openTun('/dev/net/tun', name, flags, []);
}
