import { createHash, randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Test } from 'tap';
import type { NetworkNamespace } from './network-namespace.js';
import type { Guest } from './qemu.js';

const MEBIBYTE = 1024 * 1024;

/** Between whom a copy goes. */
export interface Copy {
  /** For the files on the host's side. */
  readonly folder: string;
  readonly guest: Guest;
  /** The host's side. */
  readonly namespace: NetworkNamespace;
  /** Its IP address. */
  readonly hostAddress: string;
}

/** 64 MiB over TCP to a guest, and from there back: they arrive unchanged. */
export async function copies64MebibytesEachWay(
  t: Test,
  { folder, guest, namespace, hostAddress }: Copy,
): Promise<void> {
  const [sent, returned] = [join(folder, 'sent'), join(folder, 'returned')];
  writeFileSync(sent, randomBytes(64 * MEBIBYTE));
  const digest = sha256(sent);

  const sender = namespace.start('socat', [
    ...['socat', '-u', `OPEN:${sent}`, 'TCP-LISTEN:5001,reuseaddr'],
  ]);
  t.teardown(() => sender.stop('SIGKILL'));
  const connect = 'retry=20,interval=0.1';
  await guest.check(`socat -u TCP:${hostAddress}:5001,${connect} CREATE:/tmp/data`, 60_000);
  t.match(await guest.check('sha256sum /tmp/data', 60_000), digest, 'host to guest');
  t.same(await sender.exited, { status: 0, signal: null });

  const receiver = namespace.start('socat', [
    ...['socat', '-u', 'TCP-LISTEN:5002,reuseaddr', `CREATE:${returned}`],
  ]);
  t.teardown(() => receiver.stop('SIGKILL'));
  await guest.check(`socat -u OPEN:/tmp/data TCP:${hostAddress}:5002,${connect}`, 60_000);
  t.same(await receiver.exited, { status: 0, signal: null });
  t.equal(sha256(returned), digest, 'guest to host');
}

function sha256(path: string): string {
  return createHash('sha256').update(readFileSync(path)).digest('hex');
}
