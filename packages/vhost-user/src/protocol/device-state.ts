/**
 * DEVICE_STATE: a front-end that migrates takes along what the back-end knows of the guest and the
 * guest's memory does not hold. It hands over one end of a pipe and says which way; the writing end
 * is closed when all is written, and whoever reads reads up to there. Then it asks how that went.
 */
import { errnoName, VhostError } from '@rxvhost/core';
import { type Codec, struct, u32 } from './layout.js';
import { U64 } from './payloads.js';

/** Which way: the back-end writes, or reads. */
export const DEVICE_STATE_DIRECTION = { SAVE: 0, LOAD: 1 } as const;

/** The direction, and the phase of the migration: 0, with every ring stopped, is the only one. */
export const DEVICE_STATE = struct('device state', { direction: u32, phase: u32 });
export type DeviceStateParameters = ReturnType<typeof DEVICE_STATE.decode>;

/** The reply to SET_DEVICE_STATE_FD. */
export interface DeviceStateChannel {
  /** A pipe of the back-end's, to use in place of the front-end's; -1 while it is on its way. */
  readonly fd: number | undefined;
}

const ERROR_MASK = 0xffn;
const NO_FD = 0x100n;

/** Bits 0 to 7 an errno, bit 8 "use your own". */
export const DEVICE_STATE_CHANNEL: Codec<DeviceStateChannel> = {
  name: 'device state channel',
  encode: ({ fd }) => U64.encode(fd === undefined ? NO_FD : 0n),
  decode(bytes) {
    const word = U64.decode(bytes);
    const errno = Number(word & ERROR_MASK);
    if (errno !== 0) throw new VhostError(errnoName(errno), 'the back-end refused');
    return { fd: (word & NO_FD) === 0n ? -1 : undefined };
  },
};

/** How SET_DEVICE_STATE_FD says no. */
export function deviceStateRefusal({ errno }: VhostError): Uint8Array {
  return U64.encode(BigInt(errno) | NO_FD);
}
