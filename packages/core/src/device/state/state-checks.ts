import { VhostError } from '../../errors/vhost-error.js';
import type { Vring } from '../vring.js';

/** Throws `EBUSY` while a queue runs: then there is no state of the device that could be carried away. */
export function checkStandingStill(vrings: readonly Vring[]): void {
  const running = vrings.find(({ attached }) => attached);
  if (running === undefined) return;
  throw new VhostError(
    'EBUSY',
    `queue ${running.index} runs: the device has no state to carry away`,
  );
}

/** Throws `EINVAL` for the state of a guest whose driver has accepted what is not offered here. */
export function checkFeaturesOffered(features: bigint, offered: bigint): void {
  const unknown = features & ~offered;
  if (unknown === 0n) return;
  throw new VhostError(
    'EINVAL',
    `the state of a guest with features 0x${unknown.toString(16)}, which are not offered here`,
  );
}
