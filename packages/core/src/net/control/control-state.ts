import type { StateReader, StateWriter } from '../../device/state/state-bytes.js';
import { VhostError } from '../../errors/vhost-error.js';
import { SUPPORTED_HASH_TYPES } from '../steering/flow-hash.js';
import { HASH_KEY_LENGTH } from '../steering/toeplitz.js';
import { type FilterState, MAX_FILTER_ADDRESSES, SWITCHES, VLAN_BYTES } from './receive-filter.js';
import { type HashConfig, MAX_INDIRECTION_ENTRIES, type RssConfig } from './rss-commands.js';

/** What a driver has said on the control queue. */
export interface ControlState {
  /** Whether there is a control queue that has run. */
  readonly runs: boolean;
  readonly activePairs: number;
  /** The offloads that the driver has left on, as feature bits. */
  readonly guestOffloads: bigint;
  /** The driver is asked to tell the network where it is. */
  readonly announce: boolean;
  readonly filter: FilterState;
  /** Frames are steered by the driver's table. */
  readonly rss: RssConfig | undefined;
  readonly hash: HashConfig | undefined;
}

const MAC_LENGTH = 6;

export function writeControlState(writer: StateWriter, state: ControlState): void {
  const { filter } = state;
  writer.u8(state.runs ? 1 : 0);
  writer.u16(state.activePairs);
  writer.u64(state.guestOffloads);
  writer.u8(state.announce ? 1 : 0);
  for (const name of SWITCHES) writer.u8(filter.switches[name] ? 1 : 0);
  writeOptional(writer, filter.own, (own) => writer.bytes(own));
  for (const { addresses, tooMany } of [filter.unicast, filter.multicast]) {
    writer.u8(tooMany ? 1 : 0);
    writer.u32(addresses.length / MAC_LENGTH);
    writer.bytes(addresses);
  }
  writeOptional(writer, filter.vlans, (vlans) => writer.bytes(vlans));
  writeOptional(writer, state.rss, (rss) => {
    writeHash(writer, rss);
    writer.u16(rss.unclassified);
    writer.u32(rss.indirection.length);
    for (const pair of rss.indirection) writer.u16(pair);
  });
  writeOptional(writer, state.hash, (hash) => writeHash(writer, hash));
}

/**
 * Reads what {@link writeControlState} wrote; `EINVAL` for what no driver could have said.
 * @param pairs - queue pairs of the NIC
 */
export function readControlState(reader: StateReader, pairs: number): ControlState {
  return {
    runs: reader.flag(),
    activePairs: within(reader.u16(), 1, pairs),
    guestOffloads: reader.u64(),
    announce: reader.flag(),
    filter: {
      switches: Object.fromEntries(
        SWITCHES.map((name) => [name, reader.flag()]),
      ) as FilterState['switches'],
      own: readOptional(reader, () => reader.bytes(MAC_LENGTH)),
      unicast: readAddresses(reader),
      multicast: readAddresses(reader),
      vlans: readOptional(reader, () => reader.bytes(VLAN_BYTES)),
    },
    rss: readOptional(reader, () => readRss(reader, pairs)),
    hash: readOptional(reader, () => readHash(reader)),
  };
}

function readAddresses(reader: StateReader): FilterState['unicast'] {
  const tooMany = reader.flag();
  return { tooMany, addresses: reader.bytes(MAC_LENGTH * reader.count(MAX_FILTER_ADDRESSES)) };
}

function readRss(reader: StateReader, pairs: number): RssConfig {
  const hash = readHash(reader);
  const unclassified = within(reader.u16(), 0, pairs - 1);
  const entries = within(reader.count(MAX_INDIRECTION_ENTRIES), 1, MAX_INDIRECTION_ENTRIES);
  if ((entries & (entries - 1)) !== 0) throw new VhostError('EINVAL', 'a table of odd length');
  const indirection = Uint16Array.from({ length: entries }, () =>
    within(reader.u16(), 0, pairs - 1),
  );
  return { ...hash, unclassified, indirection };
}

function writeHash(writer: StateWriter, { types, key }: HashConfig): void {
  writer.u32(types);
  writer.u32(key.length);
  writer.bytes(key);
}

function readHash(reader: StateReader): HashConfig {
  const types = reader.u32();
  if ((types & ~SUPPORTED_HASH_TYPES) !== 0) throw new VhostError('EINVAL', 'unknown hash types');
  return { types, key: reader.bytes(reader.count(HASH_KEY_LENGTH)) };
}

function writeOptional<T>(
  writer: StateWriter,
  value: T | undefined,
  write: (value: T) => void,
): void {
  writer.u8(value === undefined ? 0 : 1);
  if (value !== undefined) write(value);
}

function readOptional<T>(reader: StateReader, read: () => T): T | undefined {
  return reader.flag() ? read() : undefined;
}

function within(value: number, low: number, high: number): number {
  if (value >= low && value <= high) return value;
  throw new VhostError('EINVAL', `a state with ${value} where ${low} … ${high} is possible`);
}
