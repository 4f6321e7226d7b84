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
