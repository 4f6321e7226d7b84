import { StateReader, StateWriter, VhostError } from '@rxvhost/core';
import { isGuestCid } from '../protocol/limits.js';

/**
 * What goes along with a guest that moves: no connections, whose other ends stay behind. Counters are
 * the host's, too.
 */
export interface VsockState {
  /** Feature bits that the driver has accepted. */
  readonly features: bigint;
  /** The address that the driver has read. */
  readonly guestCid: number;
  /** Whether a driver has used the transmit queue, and so may have connections. */
  readonly driver: boolean;
  /** A transport reset that the driver has not been told of yet (hazard T76). */
  readonly resetPending: boolean;
}

const KIND = { device: 19, version: 1 };

export function writeVsockState(state: VsockState): Uint8Array {
  const writer = new StateWriter();
  writer.u64(state.features);
  writer.u32(state.guestCid);
  writer.u8(state.driver ? 1 : 0);
  writer.u8(state.resetPending ? 1 : 0);
  return writer.finish(KIND);
}

/** Throws `EINVAL` for what is not the state of a vsock. */
export function readVsockState(bytes: Uint8Array): VsockState {
  const reader = new StateReader(bytes, KIND);
  const features = reader.u64();
  const guestCid = reader.u32();
  const driver = reader.flag();
  const resetPending = reader.flag();
  reader.end();
  if (!isGuestCid(guestCid)) {
    throw new VhostError(
      'EINVAL',
      `the state of a guest with CID ${guestCid}, which none may have`,
    );
  }
  return { features, guestCid, driver, resetPending };
}
