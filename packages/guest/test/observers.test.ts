/** What subscribers see of a NIC that is busy, and what they cannot do to it. */
import { loopback } from '@rxvhost/core';
import t from 'tap';
import { plugged, turn, until } from './support/nics.js';

const FRAMES = 100;

/** Catches what would end the process, while `body` runs. */
async function catching(body: () => Promise<void>): Promise<string[]> {
  const caught: string[] = [];
  const onUncaught = (error: unknown): void => {
    caught.push(String(error));
  };
  const others = process.listeners('uncaughtException');
  process.removeAllListeners('uncaughtException');
  process.on('uncaughtException', onUncaught);
  await body();
  await new Promise((resolve) => setTimeout(resolve)); // RxJS reports from a timer
  process.off('uncaughtException', onUncaught);
  for (const listener of others) process.on('uncaughtException', listener);
  return caught;
}

t.test('T95 observables emit a batch at a time, not a frame', async (t) => {
  const { nic, device, received, close } = plugged(loopback());
  const seen = { kicks: 0, batches: 0 };
  device.kicks$.subscribe(({ queue }) => (seen.kicks += queue));
  nic.driver.frames$.subscribe(() => (seen.batches += 1));
  for (let frame = 0; frame < FRAMES; frame += 1) nic.driver.enqueue(new Uint8Array(60));
  nic.driver.flush();
  await until(() => received.length === FRAMES);
  t.equal(seen.kicks, 1);
  t.ok(seen.batches <= 2, `${seen.batches} batches`);
  await close();
});

t.test('T95 a subscriber that throws harms itself only', async (t) => {
  const { nic, device, received, close } = plugged(loopback());
  const throwing = (what: string) => () => {
    throw new Error(`a subscriber of ${what}`);
  };
  device.kicks$.subscribe(throwing('kicks$'));
  device.state$.subscribe({ complete: throwing('state$') });
  const caught = await catching(async () => {
    for (let round = 1; round <= 3; round += 1) {
      nic.driver.send(new Uint8Array(60));
      await until(() => received.length === round);
    }
    await close();
  });
  t.equal(received.length, 3, 'frames go on');
  const kicks = caught.filter((error) => error === 'Error: a subscriber of kicks$');
  t.ok(kicks.length >= 1, 'each is told as an uncaught exception');
  t.ok(caught.includes('Error: a subscriber of state$'));
});

t.test('T95 who has unsubscribed hears nothing more, and the NIC goes on', async (t) => {
  const { nic, device, received, close } = plugged(loopback());
  let kicks = 0;
  const subscription = device.kicks$.subscribe(() => {
    kicks += 1;
    subscription.unsubscribe();
  });
  for (let round = 1; round <= 3; round += 1) {
    nic.driver.send(new Uint8Array(60));
    await until(() => received.length === round);
    await turn(2);
  }
  t.equal(kicks, 1);
  await close();
});
