import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { Test } from 'tap';

/** What this process has open, as `/proc` tells it: `3 -> anon_inode:[eventfd]`. */
export function openFds(): string[] {
  return readdirSync('/proc/self/fd')
    .flatMap((fd) => {
      try {
        return [`${fd} -> ${readlinkSync(`/proc/self/fd/${fd}`)}`];
      } catch {
        // The directory's own fd is gone by now.
        return [];
      }
    })
    .filter((line) => !line.includes('/proc/'));
}

/** How many lines of `/proc/self/maps` name `text`. */
export function mappingsOf(text: string): number {
  return readFileSync('/proc/self/maps', 'utf8')
    .split('\n')
    .filter((line) => line.includes(text)).length;
}

/** Lets the event loop turn `turns` times. */
export async function turns(count = 3): Promise<void> {
  for (let i = 0; i < count; i += 1) await new Promise((resolve) => setImmediate(resolve));
}

/** Waits until `condition` holds; false after `milliseconds`. */
export async function eventually(
  condition: () => boolean,
  milliseconds = 30_000,
): Promise<boolean> {
  const end = Date.now() + milliseconds;
  while (!condition()) {
    if (Date.now() > end) return false;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return true;
}

/** A full garbage collection. */
export function collectGarbage(): void {
  setFlagsFromString('--expose-gc');
  runInNewContext('gc')();
}

/** The errno name that `call` throws, or undefined. */
export function codeOf(call: () => unknown): unknown {
  try {
    call();
    return undefined;
  } catch (error) {
    return error instanceof Error && 'code' in error ? error.code : error;
  }
}

/** The message that `call` throws. */
export function messageOf(call: () => unknown): string {
  try {
    call();
    return '';
  } catch (error) {
    return String(error);
  }
}

/** Why a test that needs root cannot run, or false. With RXVHOST_REQUIRE_PEERS=1 it must run. */
export function withoutRoot(): string | false {
  if (process.env['RXVHOST_REQUIRE_PEERS'] === '1') return false;
  return process.getuid?.() === 0 ? false : 'needs root (CAP_NET_ADMIN)';
}

/** A test that must leave as many fds open as it found. */
export function cleanTest(t: Test, name: string, body: (t: Test) => Promise<void>): void {
  t.test(name, async (t) => {
    const before = openFds().length;
    await body(t);
    if (!(await eventually(() => openFds().length <= before))) {
      t.fail(`left open: ${openFds().join(', ')}`);
    }
  });
}
