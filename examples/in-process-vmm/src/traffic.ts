import { setTimeout as delay } from 'node:timers/promises';
import { NumberedFrames } from '@rxvhost/guest';
import { firstValueFrom, fromEvent, merge } from 'rxjs';
import type { GuestMachine } from './guest-machine.js';

/** Bytes of the frames that the guests send, in turn. */
export const FRAME_LENGTHS = [64, 128, 256, 512, 1024, 1280, 1514] as const;
/** Milliseconds without a single frame after which the rest counts as lost. */
const PATIENCE = 3000;
const LOOK_EVERY = 10;

/**
 * Each guest sends `count` numbered frames to the other, both at once. Resolves when all have
 * arrived, or when nothing comes any more, or `signal` calls it off. How it went is in the guests'
 * checkers.
 */
export async function exchangeFrames(
  [a, b]: readonly [GuestMachine, GuestMachine],
  count: number,
  signal: AbortSignal,
): Promise<void> {
  const end = new AbortController();
  const either = AbortSignal.any([signal, end.signal]);
  const sending = [sendFrames(a, b, count, either), sendFrames(b, a, count, either)];
  await receiveFrames([a, b], count, either);
  end.abort();
  await Promise.all(sending);
}

/** Sends numbered frames at the pace at which the NIC takes them. */
async function sendFrames(
  from: GuestMachine,
  to: GuestMachine,
  count: number,
  signal: AbortSignal,
): Promise<void> {
  const { driver } = from.nic;
  const frames = new NumberedFrames(to.mac, from.mac);
  while (frames.next < count) {
    const length = FRAME_LENGTHS[frames.next % FRAME_LENGTHS.length] ?? FRAME_LENGTHS[0];
    const frame = frames.make(length);
    while (!driver.send(frame)) {
      await firstValueFrom(merge(driver.writable$, fromEvent(signal, 'abort')));
      if (signal.aborted) return;
    }
  }
}

async function receiveFrames(
  guests: readonly GuestMachine[],
  count: number,
  signal: AbortSignal,
): Promise<void> {
  let before = 0;
  let since = performance.now();
  while (!signal.aborted && performance.now() - since < PATIENCE) {
    const arrived = guests.map(({ checker }) => checker.intact + checker.damaged);
    if (arrived.every((each) => each >= count)) return;
    const sum = arrived.reduce((total, each) => total + each, 0);
    if (sum !== before) since = performance.now();
    before = sum;
    await delay(LOOK_EVERY);
  }
}
