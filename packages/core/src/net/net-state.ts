import { StateReader, StateWriter } from '../device/state/state-bytes.js';
import { VhostError } from '../errors/vhost-error.js';
import { type ControlState, readControlState, writeControlState } from './control/control-state.js';

/** What a NIC's guest has seen of it and said to it. Counters are the host's, and stay there. */
export interface NetState {
  /** Feature bits that the driver has accepted. */
  readonly features: bigint;
  /** Queue pairs. */
  readonly pairs: number;
  /** Bytes of configuration space, which depend on what the NIC can do. */
  readonly configSize: number;
  /** 6 bytes. */
  readonly mac: Uint8Array;
  /** 0 where none was set. */
  readonly mtu: number;
  readonly control: ControlState;
}

const KIND = { device: 1, version: 1 };

export function writeNetState(state: NetState): Uint8Array {
  const writer = new StateWriter();
  writer.u64(state.features);
  writer.u16(state.pairs);
  writer.u16(state.configSize);
  writer.bytes(state.mac);
  writer.u16(state.mtu);
  writeControlState(writer, state.control);
  return writer.finish(KIND);
}

/**
 * Throws `EINVAL` for what is not the state of a NIC, and for that of a NIC whose guest this one could
 * not go on with: other queue pairs, another configuration space.
 */
export function readNetState(
  bytes: Uint8Array,
  { pairs, configSize }: Pick<NetState, 'pairs' | 'configSize'>,
): NetState {
  const reader = new StateReader(bytes, KIND);
  const features = reader.u64();
  const found = { pairs: reader.u16(), configSize: reader.u16() };
  if (found.pairs !== pairs || found.configSize !== configSize) {
    throw new VhostError(
      'EINVAL',
      `the state of a NIC with ${found.pairs} queue pairs and ${found.configSize} bytes of ` +
        `configuration; this one has ${pairs} and ${configSize}`,
    );
  }
  const mac = reader.bytes(6);
  const mtu = reader.u16();
  const control = readControlState(reader, pairs);
  reader.end();
  return { features, ...found, mac, mtu, control };
}
