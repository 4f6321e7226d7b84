import { LocalEvent, type VhostNet } from '@rxvhost/core';
import {
  type GuestMemoryArena,
  makeDriverQueue,
  type NumberedFrameChecker,
  VirtioNetDriver,
  vringAddresses,
} from '../../src/index.js';

/** A queue pair with an honest driver on a device that others attack. */
export interface HonestPair {
  readonly driver: VirtioNetDriver;
  close(): void;
}

/** Sets up pair `pair` of a device that has an owner, features and memory, and runs it. */
export function plugHonestPair(
  device: VhostNet,
  pair: number,
  arena: GuestMemoryArena,
  checker: NumberedFrameChecker,
): HonestPair {
  const [receive, transmit] = [2 * pair, 2 * pair + 1].map((index) => {
    const queue = makeDriverQueue(arena, 16, device.features, 0);
    const link = { queue, kick: new LocalEvent(), call: new LocalEvent() };
    device.setVringSize(index, queue.size);
    device.setVringBase(index, queue.initialBase);
    device.setVringAddresses(index, vringAddresses(arena, queue));
    device.setVringKick(index, link.kick);
    device.setVringCall(index, link.call);
    device.runQueue(index, 'running');
    return link;
  });
  if (receive === undefined || transmit === undefined) throw new Error('a pair has two queues');
  const driver = new VirtioNetDriver(arena, { receive, transmit }, { features: device.features });
  driver.frames$.subscribe((batch) => {
    for (const frame of batch) checker.receive(frame);
  });
  driver.start();
  return { driver, close: () => driver.close() };
}
