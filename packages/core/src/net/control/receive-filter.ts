/**
 * Which frames a NIC lets in (virtio 1.2, 5.1.6.5.1 to 5.1.6.5.3): its own address, a table of
 * further ones, switches for whole kinds, and a set of VLANs. A driver that never says anything gets
 * everything, as from a NIC without a control queue.
 */

const MAC_LENGTH = 6;
/** Most addresses in each of the two lists; a longer one lets in all of its kind, as Linux expects. */
export const MAX_FILTER_ADDRESSES = 64;
const VLAN_LIMIT = 4096;
const TAG_TYPE = 0x8100;

/** The kinds of frame that a driver can switch. */
export interface ReceiveSwitches {
  promiscuous: boolean;
  allMulticast: boolean;
  allUnicast: boolean;
  noMulticast: boolean;
  noUnicast: boolean;
  noBroadcast: boolean;
}

/** All of them, in an order that a saved state relies on. */
export const SWITCHES = [
  'promiscuous',
  'allMulticast',
  'allUnicast',
  'noMulticast',
  'noUnicast',
  'noBroadcast',
] as const satisfies readonly (keyof ReceiveSwitches)[];

/** One list of addresses: 6 bytes each, one after the other. */
export interface AddressList {
  readonly addresses: Uint8Array;
  /** The driver gave more than are kept: all of the kind are let in. */
  readonly tooMany: boolean;
}

/** A filter, to be saved. */
export interface FilterState {
  readonly switches: Readonly<ReceiveSwitches>;
  readonly own: Uint8Array | undefined;
  readonly unicast: AddressList;
  readonly multicast: AddressList;
  /** One bit for each VLAN, the lowest of each byte first; undefined lets all in. */
  readonly vlans: Uint8Array | undefined;
}

/** Bytes of a bit for each VLAN. */
export const VLAN_BYTES = VLAN_LIMIT / 8;

/** An address as one number below 2^48. */
function addressAt(view: DataView, at: number): number {
  return view.getUint16(at) * 0x1_0000_0000 + view.getUint32(at + 2);
}

const BROADCAST = 0xffff_ffff_ffff;
const MULTICAST_BYTE = 0x01;

/** Lets frames in or not. One object for all receive queues of a NIC. */
export class ReceiveFilter {
  readonly switches: ReceiveSwitches = {
    promiscuous: true,
    allMulticast: false,
    allUnicast: false,
    noMulticast: false,
    noUnicast: false,
    noBroadcast: false,
  };

  #own: number | undefined;
  #unicast = new Set<number>();
  #multicast = new Set<number>();
  #tooMany = { unicast: false, multicast: false };
  /** One bit for each VLAN; undefined lets all in. */
  #vlans: Uint8Array | undefined;

  /** What can be made into a filter like this one again, by {@link restore}. */
  save(): FilterState {
    return {
      switches: { ...this.switches },
      own: this.#own === undefined ? undefined : addressBytes([this.#own]),
      unicast: { addresses: addressBytes(this.#unicast), tooMany: this.#tooMany.unicast },
      multicast: { addresses: addressBytes(this.#multicast), tooMany: this.#tooMany.multicast },
      vlans: this.#vlans && packBits(this.#vlans),
    };
  }

  /** Lets in from now on what the saved filter did. */
  restore({ switches, own, unicast, multicast, vlans }: FilterState): void {
    Object.assign(this.switches, switches);
    this.setOwnAddress(own);
    this.setTable(unicast.addresses, multicast.addresses);
    this.#tooMany = { unicast: unicast.tooMany, multicast: multicast.tooMany };
    this.#vlans = vlans && unpackBits(vlans);
  }

  /** False while everything is let in: nobody need look at frames then. */
  get active(): boolean {
    const { promiscuous, noBroadcast, noMulticast, noUnicast } = this.switches;
    return !promiscuous || noBroadcast || noMulticast || noUnicast || this.#vlans !== undefined;
  }

  /** The NIC's own address, 6 bytes; undefined where it has none, and no unicast frame is refused. */
  setOwnAddress(mac: Uint8Array | undefined): void {
    this.#own = mac && addressAt(new DataView(mac.buffer, mac.byteOffset, MAC_LENGTH), 0);
  }

  /** The whole table: addresses of 6 bytes each, one after the other. */
  setTable(unicast: Uint8Array, multicast: Uint8Array): void {
    this.#unicast = addresses(unicast);
    this.#multicast = addresses(multicast);
    this.#tooMany = {
      unicast: unicast.length > MAX_FILTER_ADDRESSES * MAC_LENGTH,
      multicast: multicast.length > MAX_FILTER_ADDRESSES * MAC_LENGTH,
    };
  }

  /** From now on only untagged frames and those of VLANs that are added are let in. */
  filterVlans(): void {
    this.#vlans = new Uint8Array(VLAN_LIMIT);
  }

  /** False for what is no VLAN. */
  setVlan(vlan: number, wanted: boolean): boolean {
    if (vlan >= VLAN_LIMIT || this.#vlans === undefined) return false;
    this.#vlans[vlan] = wanted ? 1 : 0;
    return true;
  }

  /** Whether the frame at `at … end - 1` is let in. */
  passes(view: DataView, at: number, end: number): boolean {
    if (end - at < 2 * MAC_LENGTH + 2) return true;
    return this.#passesVlan(view, at, end) && this.#passesAddress(view, at);
  }

  #passesVlan(view: DataView, at: number, end: number): boolean {
    const tag = at + 2 * MAC_LENGTH;
    if (this.#vlans === undefined || tag + 4 > end) return true;
    if (view.getUint16(tag) !== TAG_TYPE) return true;
    return this.#vlans[view.getUint16(tag + 2) & (VLAN_LIMIT - 1)] === 1;
  }

  #passesAddress(view: DataView, at: number): boolean {
    const address = addressAt(view, at);
    const { switches } = this;
    if (address === BROADCAST) return !switches.noBroadcast;
    if ((view.getUint8(at) & MULTICAST_BYTE) !== 0) {
      if (switches.noMulticast) return false;
      const all = switches.promiscuous || switches.allMulticast || this.#tooMany.multicast;
      return all || this.#multicast.has(address);
    }
    if (switches.noUnicast) return false;
    const all = switches.promiscuous || switches.allUnicast || this.#tooMany.unicast;
    return all || this.#own === undefined || address === this.#own || this.#unicast.has(address);
  }
}

function addresses(list: Uint8Array): Set<number> {
  const view = new DataView(list.buffer, list.byteOffset, list.byteLength);
  const end = Math.min(list.length, MAX_FILTER_ADDRESSES * MAC_LENGTH);
  const found = new Set<number>();
  for (let at = 0; at + MAC_LENGTH <= end; at += MAC_LENGTH) found.add(addressAt(view, at));
  return found;
}

function addressBytes(addresses: Iterable<number>): Uint8Array {
  const list = [...addresses];
  const bytes = new Uint8Array(MAC_LENGTH * list.length);
  const view = new DataView(bytes.buffer);
  for (const [index, address] of list.entries()) {
    view.setUint16(MAC_LENGTH * index, Math.floor(address / 0x1_0000_0000));
    view.setUint32(MAC_LENGTH * index + 2, address % 0x1_0000_0000);
  }
  return bytes;
}

function packBits(vlans: Uint8Array): Uint8Array {
  const bits = new Uint8Array(VLAN_BYTES);
  for (const [vlan, wanted] of vlans.entries()) {
    bits[vlan >> 3] = (bits[vlan >> 3] as number) | (wanted << (vlan & 7));
  }
  return bits;
}

function unpackBits(bits: Uint8Array): Uint8Array {
  return Uint8Array.from(
    { length: VLAN_LIMIT },
    (_, vlan) => ((bits[vlan >> 3] as number) >> (vlan & 7)) & 1,
  );
}
