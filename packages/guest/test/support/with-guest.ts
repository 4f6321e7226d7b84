import type { Test } from 'tap';
import { DESCRIPTOR_NEXT, type HostileDescriptor } from '../../src/index.js';
import { HostileGuest } from './hostile-guest.js';
import { turn } from './nics.js';

/** Runs `body` with a guest of its own and checks that the other queue pair has not noticed. */
export async function withGuest(
  t: Test,
  body: (guest: HostileGuest) => Promise<void>,
  guest = new HostileGuest(),
): Promise<void> {
  // The look at the ring with which a queue begins is over.
  await turn(3);
  await body(guest);
  t.ok(await guest.servesTheOtherPair(), 'the other queue pair is served');
  await guest.close();
}

/** The same descriptors, linked one after the other in a table of their own. */
export function linked(descriptors: readonly HostileDescriptor[]): HostileDescriptor[] {
  return descriptors.map((descriptor, index) => {
    const last = index + 1 === descriptors.length;
    const flags = descriptor.flags | (last ? 0 : DESCRIPTOR_NEXT);
    return { ...descriptor, flags, next: last ? 0 : index + 1 };
  });
}
