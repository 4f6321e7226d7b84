import type { EventFd } from '@rxvhost/sys';
import type { VhostUserFrontend } from '../../src/index.js';
import { type memoryRegion, ringAddresses } from './bench.js';

/** All steps that a ring needs, by name. */
export function steps(
  frontend: VhostUserFrontend,
  kick: EventFd,
  region: ReturnType<typeof memoryRegion>,
) {
  return {
    memory: () => frontend.shareMemory([region]),
    size: () => frontend.request('SET_VRING_NUM', { index: 0, num: 256 }),
    base: () => frontend.request('SET_VRING_BASE', { index: 0, num: 5 }),
    address: () =>
      frontend.request('SET_VRING_ADDR', { index: 0, ...ringAddresses(0), logAddress: 0n }),
    kick: () => frontend.request('SET_VRING_KICK', { index: 0, hasFd: true }, [kick.fd]),
    call: () => frontend.request('SET_VRING_CALL', { index: 0, hasFd: false }),
    enable: () => frontend.request('SET_VRING_ENABLE', { index: 0, num: 1 }),
  };
}

/** Every order of `items`. */
export function permutations<T>(items: readonly T[]): T[][] {
  if (items.length === 0) return [[]];
  return items.flatMap((item, index) =>
    permutations(items.filter((_, other) => other !== index)).map((rest) => [item, ...rest]),
  );
}
