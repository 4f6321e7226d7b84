import { createHash, randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Test } from 'tap';
import type { Guest } from './qemu.js';
import type { Copy } from './tcp-copy.js';

export interface SlowTransferOptions extends Copy {
  /** Mebibytes each way. */
  readonly mebibytes: number;
  /** Seconds between two of them. */
  readonly pause: number;
}

const connect = 'retry=50,interval=0.1';
const sha256 = (path: string) => createHash('sha256').update(readFileSync(path)).digest('hex');

/**
 * TCP both ways between host and guest, a mebibyte at a time with pauses: long enough for something
 * to happen in the middle.
 */
export class SlowTransfer {
  private constructor(
    private readonly t: Test,
    private readonly finishedAtHost: () => Promise<void>,
    private readonly sums: { readonly toGuest: string; readonly fromGuest: () => string },
  ) {}

  /** Resolves when data has arrived in the guest. */
  static async start(t: Test, options: SlowTransferOptions): Promise<SlowTransfer> {
    const { folder, guest, namespace, hostAddress, mebibytes, pause } = options;
    const slowly = (path: string) =>
      `for part in $(seq 0 ${mebibytes - 1}); do dd if=${path} bs=1M count=1 skip=$part 2>/dev/null; sleep ${pause}; done`;
    const [toGuest, fromGuest] = [join(folder, 'to-guest'), join(folder, 'from-guest')];
    writeFileSync(toGuest, randomBytes(mebibytes * 1024 * 1024));
    const sender = namespace.start('sender', [
      ...['sh', '-c', `{ ${slowly(toGuest)}; } | socat -u - TCP-LISTEN:5001,reuseaddr`],
    ]);
    t.teardown(() => sender.stop('SIGKILL'));
    const receiver = namespace.start('receiver', [
      ...['socat', '-u', 'TCP-LISTEN:5002,reuseaddr', `CREATE:${fromGuest}`],
    ]);
    t.teardown(() => receiver.stop('SIGKILL'));
    await guest.check(
      `dd if=/dev/urandom of=/tmp/sent bs=1M count=${mebibytes} 2>/dev/null`,
      60_000,
    );
    await guest.check(
      `(socat -u TCP:${hostAddress}:5001,${connect} CREATE:/tmp/received; echo $? >/tmp/first) >/dev/null 2>&1 &
       ({ ${slowly('/tmp/sent')}; } | socat -u - TCP:${hostAddress}:5002,${connect}; echo $? >/tmp/second) >/dev/null 2>&1 &`,
    );
    await guest.check('until test -s /tmp/received; do sleep 0.1; done', 60_000);
    const finishedAtHost = async () => {
      t.same(await sender.exited, { status: 0, signal: null });
      t.same(await receiver.exited, { status: 0, signal: null });
    };
    const sums = { toGuest: sha256(toGuest), fromGuest: () => sha256(fromGuest) };
    return new SlowTransfer(t, finishedAtHost, sums);
  }

  /** Asserts that neither direction has finished. */
  async expectUnderWay(guest: Guest): Promise<void> {
    const { status } = await guest.run('test -e /tmp/first -o -e /tmp/second');
    this.t.equal(status, 1, 'still under way');
  }

  /** Waits for the end, and asserts that all has arrived as it was sent. */
  async expectIntact(guest: Guest): Promise<void> {
    const { t } = this;
    await guest.check('until test -e /tmp/first -a -e /tmp/second; do sleep 0.2; done', 120_000);
    t.equal((await guest.check('cat /tmp/first /tmp/second')).trim(), '0\n0');
    await this.finishedAtHost();
    const sum = (path: string) => guest.check(`sha256sum ${path}`, 60_000);
    t.match(await sum('/tmp/received'), this.sums.toGuest, 'to the guest');
    t.match(await sum('/tmp/sent'), this.sums.fromGuest(), 'from the guest');
  }
}
