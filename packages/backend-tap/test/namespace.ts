import { existsSync } from 'node:fs';
import { loadNative } from '@rxvhost/sys';
import { testInPrivateNetwork } from '@rxvhost/sys/testing';
import t from 'tap';

export { ip } from '@rxvhost/sys/testing';

/** Runs the calling test file in a network namespace of its own: true in there, go on with the tests. */
export function insideNamespace(url: string): boolean {
  const missing = existsSync('/dev/net/tun') ? undefined : 'needs /dev/net/tun';
  return testInPrivateNetwork(t, url, 'taps', missing);
}

/** Opens a tun device with just these flags. */
export function openDevice(name: string, flags: number): number {
  return loadNative().openTun('/dev/net/tun', name, flags, []);
}
