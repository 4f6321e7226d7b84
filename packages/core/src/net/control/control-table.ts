import { NET_FEATURE } from '../net-features.js';
import {
  ANNOUNCE_COMMAND,
  CONTROL_CLASS,
  GUEST_OFFLOADS_COMMAND,
  MAC_COMMAND,
  MQ_COMMAND,
  RX_COMMAND,
  VLAN_COMMAND,
} from './control-commands.js';
import type { ControlledNic } from './controlled-nic.js';
import type { ReceiveSwitches } from './receive-filter.js';
import { readHashConfig, readRssConfig } from './rss-commands.js';

/** One command: when it may be given, what data it needs, what it does. */
export interface ControlRow {
  readonly class: number;
  readonly command: number;
  /** Any one of these features must have been negotiated. */
  readonly features: bigint;
  /** The fewest bytes of data. */
  readonly length: number;
  /** Obeys; false when that cannot be done, and then nothing has changed. */
  run(nic: ControlledNic, data: DataView): boolean;
}

const MAC_LENGTH = 6;

/** Every command, in the order of classes. */
export const CONTROL_TABLE: readonly ControlRow[] = [
  receiveSwitch(RX_COMMAND.PROMISCUOUS, 'promiscuous', NET_FEATURE.CTRL_RX),
  receiveSwitch(RX_COMMAND.ALL_MULTICAST, 'allMulticast', NET_FEATURE.CTRL_RX),
  receiveSwitch(RX_COMMAND.ALL_UNICAST, 'allUnicast', NET_FEATURE.CTRL_RX_EXTRA),
  receiveSwitch(RX_COMMAND.NO_MULTICAST, 'noMulticast', NET_FEATURE.CTRL_RX_EXTRA),
  receiveSwitch(RX_COMMAND.NO_UNICAST, 'noUnicast', NET_FEATURE.CTRL_RX_EXTRA),
  receiveSwitch(RX_COMMAND.NO_BROADCAST, 'noBroadcast', NET_FEATURE.CTRL_RX_EXTRA),
  {
    class: CONTROL_CLASS.MAC,
    command: MAC_COMMAND.TABLE_SET,
    features: NET_FEATURE.CTRL_RX,
    length: 8,
    run: setTable,
  },
  {
    class: CONTROL_CLASS.MAC,
    command: MAC_COMMAND.ADDRESS_SET,
    features: NET_FEATURE.CTRL_MAC_ADDR,
    length: MAC_LENGTH,
    run: (nic, data) => nic.setMac(bytesOf(data, 0, MAC_LENGTH).slice()),
  },
  vlanCommand(VLAN_COMMAND.ADD, true),
  vlanCommand(VLAN_COMMAND.DELETE, false),
  {
    class: CONTROL_CLASS.ANNOUNCE,
    command: ANNOUNCE_COMMAND.ACKNOWLEDGE,
    features: NET_FEATURE.GUEST_ANNOUNCE,
    length: 0,
    run: (nic) => {
      nic.announced();
      return true;
    },
  },
  {
    class: CONTROL_CLASS.MQ,
    command: MQ_COMMAND.PAIRS_SET,
    features: NET_FEATURE.MQ,
    length: 2,
    run: (nic, data) => {
      const pairs = data.getUint16(0, true);
      if (pairs === 0 || pairs > nic.pairs) return false;
      nic.setActivePairs(pairs);
      return true;
    },
  },
  {
    class: CONTROL_CLASS.MQ,
    command: MQ_COMMAND.RSS_CONFIG,
    features: NET_FEATURE.RSS,
    length: 0,
    run: (nic, data) => {
      const config = readRssConfig(data, nic.pairs);
      if (config !== undefined) nic.setRss(config);
      return config !== undefined;
    },
  },
  {
    class: CONTROL_CLASS.MQ,
    command: MQ_COMMAND.HASH_CONFIG,
    features: NET_FEATURE.HASH_REPORT,
    length: 0,
    run: (nic, data) => {
      const config = readHashConfig(data);
      if (config !== undefined) nic.setHash(config);
      return config !== undefined;
    },
  },
  {
    class: CONTROL_CLASS.GUEST_OFFLOADS,
    command: GUEST_OFFLOADS_COMMAND.SET,
    features: NET_FEATURE.CTRL_GUEST_OFFLOADS,
    length: 8,
    run: (nic, data) => nic.setGuestOffloads(data.getBigUint64(0, true)),
  },
];

function receiveSwitch(command: number, name: keyof ReceiveSwitches, features: bigint): ControlRow {
  return {
    class: CONTROL_CLASS.RX,
    command,
    features,
    length: 1,
    run: (nic, data) => {
      const value = data.getUint8(0);
      if (value > 1) return false;
      nic.filter.switches[name] = value === 1;
      nic.filterChanged();
      return true;
    },
  };
}

function vlanCommand(command: number, wanted: boolean): ControlRow {
  return {
    class: CONTROL_CLASS.VLAN,
    command,
    features: NET_FEATURE.CTRL_VLAN,
    length: 2,
    run: (nic, data) => {
      const known = nic.filter.setVlan(data.getUint16(0, true), wanted);
      if (known) nic.filterChanged();
      return known;
    },
  };
}

/** Two lists, each a count and the addresses. */
function setTable(nic: ControlledNic, data: DataView): boolean {
  const unicast = listAt(data, 0);
  const multicast = unicast && listAt(data, 4 + unicast.length);
  if (unicast === undefined || multicast === undefined) return false;
  nic.filter.setTable(unicast, multicast);
  nic.filterChanged();
  return true;
}

function listAt(data: DataView, at: number): Uint8Array | undefined {
  if (at + 4 > data.byteLength) return undefined;
  const bytes = data.getUint32(at, true) * MAC_LENGTH;
  return at + 4 + bytes > data.byteLength ? undefined : bytesOf(data, at + 4, bytes);
}

function bytesOf(data: DataView, at: number, length: number): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset + at, length);
}
