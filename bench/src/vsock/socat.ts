import { existsSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { PeerProcess } from '@rxvhost/test/support/peer-process.js';

/** Runs socat with blocks as large as ours, once its listening socket is there. */
export async function startSocat(
  addresses: readonly string[],
  listensAt: string,
): Promise<PeerProcess> {
  const process = new PeerProcess('socat', ['socat', '-b', '131072', ...addresses]);
  for (let waited = 0; !existsSync(listensAt); waited += 1) {
    if (waited === 500) throw new Error(`socat does not listen: ${process.stderr}`);
    await delay(10);
  }
  return process;
}
